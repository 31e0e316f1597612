"""Each agent's bookkeeping: what differs between two of its runs is the same template, and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from computer_use_cache.formats.base import Format
from computer_use_cache.rebinding import profile_for
from computer_use_cache.rebinding.profiles import NONE, profiles
from rebinding.conversations import MESSAGES, RESPONSES, digest, template


@dataclass(frozen=True)
class Sample:
    agent: str
    format: Format
    texts: tuple[str, str]
    """What the agent writes into a prompt or a tool's result, in two runs."""
    fields: tuple[dict[str, Any], dict[str, Any]] = field(default=({}, {}))


SAMPLES = {
    "codex": Sample(
        "codex_cli_rs/0.171.0 (Debian 12.0.0; x86_64)",
        RESPONSES,
        ("Chunk ID: 1a2b3c\nWall time: 0.1 seconds\nok", "Chunk ID: 9f8e7d\nWall time: 0.2 seconds\nok"),
        ({"client_metadata": {"turn": "1"}}, {"client_metadata": {"turn": "2"}}),
    ),
    "claude-code": Sample(
        "claude-cli/2.1.197 (external, cli)",
        MESSAGES,
        (
            "x-anthropic-billing-header: cc_version=2.1.37.3a3; cch=00a1b;\nOS Version: Linux 6.1.0-13-amd64",
            "x-anthropic-billing-header: cc_version=2.1.37.f0e; cch=9c8d7;\nOS Version: Linux 6.8.12-fc",
        ),
    ),
}
BODIES = {
    MESSAGES.name: lambda text: {"model": "m", "messages": [{"role": "user", "content": text}]},
    RESPONSES.name: lambda text: {"model": "m", "store": False, "input": text},
}


def test_each_profile_has_a_sample() -> None:
    assert {profile.name for profile in profiles()} == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_an_agent_is_known_by_its_user_agent(name: str) -> None:
    assert profile_for(SAMPLES[name].agent).name == name


@pytest.mark.parametrize("agent", ["", "OpenAI/Python 1.99", "curl/8 codex", "GeminiCLI/0.61.0"])
def test_any_other_client_has_none(agent: str) -> None:
    assert profile_for(agent) is NONE


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_two_runs_of_an_agent_have_one_template(sample: Sample) -> None:
    body = BODIES[sample.format.name]
    runs = zip(sample.texts, sample.fields, strict=True)
    one, other = (template(body(text) | fields, format=sample.format, agent=sample.agent) for text, fields in runs)
    assert digest(one) == digest(other)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_another_question_has_another_template(sample: Sample) -> None:
    body = BODIES[sample.format.name]
    one, other = (template(body(text), format=sample.format, agent=sample.agent) for text in ("Why 7?", "Why 8?"))
    assert digest(one) != digest(other)


def test_another_profile_is_another_template() -> None:
    body = BODIES[MESSAGES.name]("hello")
    agents = ["", *(sample.agent for sample in SAMPLES.values())]
    assert len({digest(template(body, format=MESSAGES, agent=agent)) for agent in agents}) == len(agents)
