"""A chat whose answer is stored, and one whose answer is not, as clients send them."""

from __future__ import annotations

STORED, OTHER = (b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % word for word in (b"stored", b"other"))
ANSWER = (
    b'{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"yes"}}]}'
)


def sent(body: bytes) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body
