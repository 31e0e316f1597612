"""Serving an answer that was recorded for another run: its values are replaced by those of the present request.

A request's template is the request with everything that moves from run to run taken out (template.py). Two requests
with the same template may be the same question; `approve` compares the values that were taken out, one by one
(moves.py). `rebind` puts the present values into the recorded answer (answers.py) and refuses what it cannot vouch for
(traces.py). What counts as a moving value is data: kinds.py, bindings.py and profiles.toml. Credentials are kept out of
all of this (secrets.py).
"""

from computer_use_cache.rebinding.answers import Rebound, rebind
from computer_use_cache.rebinding.bindings import Bindings
from computer_use_cache.rebinding.moves import Moves, approve
from computer_use_cache.rebinding.profiles import Profile, profile_for
from computer_use_cache.rebinding.refusal import Cause, Refusal
from computer_use_cache.rebinding.secrets import Concealed, conceal, conceal_answer, reveal_answer
from computer_use_cache.rebinding.template import Template, Value, template_of

__all__ = [
    "Bindings",
    "Cause",
    "Concealed",
    "Moves",
    "Profile",
    "Rebound",
    "Refusal",
    "Template",
    "Value",
    "approve",
    "conceal",
    "conceal_answer",
    "profile_for",
    "rebind",
    "reveal_answer",
    "template_of",
]
