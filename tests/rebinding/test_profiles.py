"""Each agent's bookkeeping: what differs between two of its runs is the same template, and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from computer_use_cache.formats.base import Format, dump
from computer_use_cache.rebinding import Rebound, profile_for
from computer_use_cache.rebinding.profiles import NONE, profiles
from rebinding.conversations import CHAT, MESSAGES, RESPONSES, carried, chat, digest, said, template, text_of


@dataclass(frozen=True)
class Sample:
    agent: str
    format: Format
    texts: tuple[str, str]
    """What the agent writes into a prompt or a tool's result, in two runs."""
    fields: tuple[dict[str, Any], dict[str, Any]] = field(default=({}, {}))
    prompt: str = ""
    """What its system prompt begins with, if its User-Agent is that of an SDK."""


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
    "gptme": Sample(
        "Anthropic/Python 1.17.0",
        MESSAGES,
        ("PID 7106: gptme (branch=main) up 11s mem=52MB\n", "PID 40522: gptme (branch=main) up 5s mem=49MB\n"),
        prompt="You are gptme v0.35.1, a general-purpose AI assistant powered by LLMs.",
    ),
    "browser-use": Sample(
        "AsyncOpenAI/Python 2.8.1",
        CHAT,
        (
            "Current tab: 9442\nAvailable tabs:\nTab 9442: http://shop.example - Shop\n[94]<button name=go />\n",
            "Current tab: 0A1F\nAvailable tabs:\nTab 0A1F: http://shop.example - Shop\n[107]<button name=go />\n",
        ),
        prompt="You are an AI agent designed to operate in an iterative loop to automate browser tasks. Your goal is",
    ),
    "stagehand": Sample(
        "ai-sdk/openai/3.0.1",
        CHAT,
        (
            "DOM: [0-5] RootWebArea\n  [0-18372] button: Buy 0-5 pieces\n    [34] StaticText: [34]",
            "DOM: [0-7] RootWebArea\n  [0-204] button: Buy 0-5 pieces\n    [38] StaticText: [34]",
        ),
        prompt="You are helping the user automate the browser by finding elements based on what action the user wants",
    ),
    "stagehand-agent": Sample(
        "ai-sdk/openai/3.0.1",
        CHAT,
        (
            "Accessibility Tree:\n[0-5] RootWebArea\n  [0-18372] button",
            "Accessibility Tree:\n[0-7] RootWebArea\n  [0-204] button",
        ),
        prompt="You are a web automation assistant using browser automation tools to accomplish the user's goal.",
    ),
    "playwright-mcp": Sample(
        "Agents/Python 0.24.0",
        CHAT,
        (
            '- textbox "Name" [ref=e5]\n- button "Buy e12 now" [active] [ref=f1e12]:\n  - ref=e3 [unchanged]',
            '- textbox "Name" [ref=e7]\n- button "Buy e12 now" [active] [ref=f1e15]:\n  - ref=e4 [unchanged]',
        ),
        prompt="Capture accessibility snapshot of the current page, this is better than screenshot",
    ),
}
BODIES = {
    CHAT.name: chat,
    MESSAGES.name: lambda text: {"model": "m", "messages": [{"role": "user", "content": text}]},
    RESPONSES.name: lambda text: {"model": "m", "store": False, "input": text},
}


def test_each_profile_has_a_sample() -> None:
    assert {profile.name for profile in profiles()} == SAMPLES.keys()


def body_of(sample: Sample, text: str) -> dict[str, Any]:
    """A request of the sample's agent."""
    return chat(sample.prompt, text) if sample.prompt else BODIES[sample.format.name](text)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_agent_is_known_by_its_user_agent_or_its_prompt(name: str) -> None:
    sample = SAMPLES[name]
    assert profile_for(sample.agent, dump(body_of(sample, "hello"))).name == name
    assert (profile_for(sample.agent, b"{}") is NONE) is bool(sample.prompt)


def test_a_prompt_is_found_before_and_behind_a_long_history() -> None:
    pictures = "iVBOR" * 100_000
    prompt = SAMPLES["stagehand"].prompt
    for body in ({"system": prompt, "messages": pictures}, {"messages": pictures, "system": prompt}):
        assert profile_for("", dump(body)).name == "stagehand"


@pytest.mark.parametrize("agent", ["", "OpenAI/Python 1.99", "curl/8 codex", "GeminiCLI/0.61.0"])
def test_any_other_client_has_none(agent: str) -> None:
    assert profile_for(agent, b"{}") is NONE


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_two_runs_of_an_agent_have_one_template(sample: Sample) -> None:
    runs = zip(sample.texts, sample.fields, strict=True)
    one, other = (
        template(body_of(sample, text) | fields, format=sample.format, agent=sample.agent) for text, fields in runs
    )
    assert digest(one) == digest(other)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_another_question_has_another_template(sample: Sample) -> None:
    one, other = (
        template(body_of(sample, text), format=sample.format, agent=sample.agent) for text in ("Why 7?", "Why 8?")
    )
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("browser-use", '{"click": {"index": 94}}', '{"click": {"index": 107}}'),
        ("browser-use", '{"switch":{"tab_id":"9442"}}', '{"switch":{"tab_id":"0A1F"}}'),
        ("browser-use", '{"done": {"text": "Paid 9442."}}', None),
        ("browser-use", '{"input": {"index": 94, "text": "94"}}', None),
        ("browser-use", '{"done": {"text": "Thank you."}}', '{"done": {"text": "Thank you."}}'),
        ("stagehand", '{"elementId":"0-18372","method":"click"}', '{"elementId":"0-204","method":"click"}'),
        ("stagehand", '{"elementId":"0-18372","description":"of [0-5]"}', None),
        ("stagehand", '{"elementId":34,"method":"click"}', '{"elementId":38,"method":"click"}'),
        ("stagehand", '{"elementId":"0-18372","arguments":["34"]}', None),
        ("stagehand", r'{"sources":"\n[34] Lovelace, A."}', None),
        ("stagehand", '{"score":"1-5","pageUrl":"0-18372"}', '{"score":"1-5","pageUrl":"0-204"}'),
        ("stagehand", '{"score":"0-5","pageUrl":"0-18372"}', None),
        ("playwright-mcp", '{"target":"f1e12","element":"Buy"}', '{"target":"f1e15","element":"Buy"}'),
        ("playwright-mcp", '{"startRef":"e5","endRef":"f1e12"}', '{"startRef":"e7","endRef":"f1e15"}'),
        ("playwright-mcp", '{"target":"f1e12","element":"e5"}', None),
    ],
)
def test_an_element_is_renamed_where_it_is_named_and_refused_elsewhere(
    name: str, answer: str, expected: str | None
) -> None:
    sample = SAMPLES[name]
    one, other = (template(body_of(sample, text), agent=sample.agent) for text in sample.texts)
    found = carried(one, other, said(answer), agent=sample.agent)
    assert found is not None
    assert (text_of(found.answer) if isinstance(found, Rebound) else None) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"action": [{"click": {"index": 94}}]}, {"action": [{"click": {"index": 107}}]}),
        ({"switch": {"tab_id": "9442"}}, {"switch": {"tab_id": "0A1F"}}),
        ({"extract": {"start_from_char": 94}}, None),
        ({"input": {"index": 94, "text": "9442"}}, None),
    ],
)
def test_an_element_is_renamed_in_arguments_that_are_an_object(given: Any, expected: Any) -> None:
    sample = SAMPLES["browser-use"]
    one, other = (
        template(BODIES[MESSAGES.name](text) | {"system": sample.prompt}, format=MESSAGES) for text in sample.texts
    )
    call = {"type": "tool_use", "id": "toolu_1", "name": "AgentOutput", "input": given}
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [call]}
    found = carried(one, other, answer, format=MESSAGES)
    assert found is not None
    assert (found.answer["content"][0]["input"] if isinstance(found, Rebound) else None) == expected


@pytest.mark.parametrize(
    ("page", "is_one"), [("[107]<a />\n[107]<b />", True), ("[107]<a />\n[108]<b />", False)], ids=["one", "two"]
)
def test_two_elements_are_never_taken_for_one(page: str, is_one: bool) -> None:
    sample = SAMPLES["browser-use"]
    one, other = (template(body_of(sample, text), agent=sample.agent) for text in ("[94]<a />\n[94]<b />", page))
    assert (digest(one) == digest(other)) is is_one


def test_another_profile_is_another_template() -> None:
    body = BODIES[MESSAGES.name]("hello")
    agents = ["", *(sample.agent for sample in SAMPLES.values() if not sample.prompt)]
    assert len({digest(template(body, format=MESSAGES, agent=agent)) for agent in agents}) == len(agents)
