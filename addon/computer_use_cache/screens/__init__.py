"""Screenshots in requests: what stands for a picture in a key, and when two pictures count as the same.

Two files with the same picture data are always one picture (metadata.py). Beyond that a request is exact: other pixels
make another question, unless they lie in a rectangle that a person named (masks.py) or are one text cursor (caret.py).
There are no thresholds and no similarity, and no suggestion takes effect until a person sets it.

`Pictures` remembers what was found out about pictures, `Approval` compares two requests picture by picture, and
`suggest` makes the setting that would have turned misses into hits.
"""
