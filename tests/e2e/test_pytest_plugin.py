"""The pytest plugin in projects of its users: record with a provider there, then run without it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support import ENTRY, Asked, Send, Upstream, answer_chat, completion, response

pytest_plugins = ["pytester"]

type Run = Callable[..., pytest.RunResult]

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "pong"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}

AGENT = """
import asyncio
import anthropic
import openai
import pytest

ASKED = {"model": "gpt-test", "messages": [{"role": "user", "content": "PROMPT"}]}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

def test_sync(llm_cache):
    answer = openai.OpenAI().chat.completions.create(**ASKED)
    assert answer.choices[0].message.content == "pong"

def test_stream(llm_cache):
    with openai.OpenAI().chat.completions.create(**ASKED, stream=True) as chunks:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "pong"

@pytest.mark.parametrize("name", ["a/b", "a b"])
def test_async(llm_cache, name):
    async def ask():
        async with openai.AsyncOpenAI() as client:
            return await client.chat.completions.create(**ASKED, user=name, seed=len(name))
    assert asyncio.run(ask()).choices[0].message.content == "pong"

class TestAnthropic:
    asked = {"model": "claude-test", "max_tokens": 9, "messages": ASKED["messages"]}

    def test_sync(self, llm_cache):
        assert anthropic.Anthropic().messages.create(**self.asked).content[0].text == "pong"

    def test_async(self, llm_cache):
        async def ask():
            async with anthropic.AsyncAnthropic() as client:
                return await client.messages.create(**self.asked)
        assert asyncio.run(ask()).content[0].text == "pong"

def test_nothing_is_asked(llm_cache):
    assert llm_cache.mode in ("record", "offline")

def test_without_a_cache():
    pass
"""


async def answer(asked: Asked, send: Send) -> None:
    if asked.path == "/v1/messages":
        await send(response(json.dumps(MESSAGE).encode()))
    else:
        await answer_chat(asked, send)


@pytest.fixture
def run(pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest with the plugin in a project of its own, where nobody's keys and settings are."""
    upstream.handler = answer
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "UPSTREAM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ENTRY.parent))
    monkeypatch.setenv("UPSTREAM_BASE_URL", upstream.url)
    monkeypatch.setenv("CACHE_MODE", "off")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def runs(*arguments: str) -> pytest.RunResult:
        plugin = ("-p", "computer_use_cache.testing.pytest_plugin")
        return pytester.runpytest_subprocess(*plugin, "--strict-markers", "-W", "error", *arguments, timeout=100)

    return runs


def cassettes(pytester: pytest.Pytester) -> list[str]:
    return sorted(path.name for path in pytester.path.glob("cassettes/test_agent/*"))


def test_what_was_recorded_is_played_with_the_provider_gone(
    run: Run, pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_agent=AGENT)
    run("--llm-cache=record").assert_outcomes(passed=8)
    assert len(upstream.asked) == 6, "each test has a cassette of its own"
    names = cassettes(pytester)
    assert [name for name in names if "async" not in name or "Anthropic" in name] == [
        "TestAnthropic.test_async.jsonl",
        "TestAnthropic.test_sync.jsonl",
        "test_stream.jsonl",
        "test_sync.jsonl",
    ]
    assert len(names) == 6, "and parameters that are no file names do not make two tests one"
    before = {path: path.read_bytes() for path in pytester.path.glob("cassettes/*/*")}
    run("--llm-cache=record", "-k", "test_stream").assert_outcomes(passed=1, deselected=7)
    assert len(upstream.asked) == 6, "recording again asks only for what is lacking"
    assert {path: path.read_bytes() for path in pytester.path.glob("cassettes/*/*")} == before
    upstream.stop()
    monkeypatch.delenv("UPSTREAM_BASE_URL")
    run().assert_outcomes(passed=8)
    assert {path: path.read_bytes() for path in pytester.path.glob("cassettes/*/*")} == before


def test_what_the_cassette_lacks_fails_the_test_and_is_named(
    run: Run, pytester: pytest.Pytester, upstream: Upstream
) -> None:
    swallowing = """
        def test_swallowed(llm_cache):
            try:
                openai.OpenAI().chat.completions.create(**ASKED)
            except openai.APIError:
                pass
    """
    pytester.makepyfile(test_agent=AGENT)
    run("--llm-cache=record", "-k", "test_sync").assert_outcomes(passed=2, deselected=6)
    edited = AGENT.replace("PROMPT", "PROMPT!") + pytester.makepyfile(x=swallowing).read_text(encoding="utf-8")
    pytester.makepyfile(test_agent=edited)
    asked = len(upstream.asked)
    result = run("-k", "test_sync or swallowed")
    result.assert_outcomes(failed=3, deselected=6)
    text = result.stdout.str()
    assert "offline miss" not in text
    assert (
        text.count(
            "POST /v1/chat/completions: CACHE_MODE=offline lets nothing go upstream: no entry answers this request"
        )
        >= 2
    )
    assert "differs at /messages/0/content @ char 6" in text
    assert "test_swallowed.jsonl (no such file) does not answer these requests:" in text
    assert "pytest --llm-cache=record" in text
    assert len(upstream.asked) == asked


def test_a_failed_test_leaves_its_cassette_alone(run: Run, pytester: pytest.Pytester, upstream: Upstream) -> None:
    failing = AGENT.replace("PROMPT", "other").replace('content == "pong"', 'content == "ping"')
    pytester.makepyfile(test_agent=failing)
    run("--llm-cache=record", "-k", "test_sync and not Anthropic").assert_outcomes(failed=1, deselected=7)
    assert len(upstream.asked) == 1
    assert cassettes(pytester) == []


def test_a_marker_and_ini_settings_choose_what_is_recorded(
    run: Run, pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UPSTREAM_BASE_URL")
    monkeypatch.setenv("OPENAI_API_KEY", key := "-".join(("sk", "own")))
    pytester.makeini(
        "[pytest]\nllm_cache = record\nllm_cache_settings =\n  CACHE_IGNORE_KEYS=seed\n  CACHE_SAMPLES=latest\n"
    )
    source = f"""
        import openai, pytest
        @pytest.mark.llm_cache(upstream={upstream.url!r}, cassette="here.jsonl")
        def test_it(llm_cache):
            for seed in (1, 2):
                messages = [{{"role": "user", "content": "a"}}]
                openai.OpenAI().chat.completions.create(model="m", seed=seed, messages=messages)
    """
    pytester.makepyfile(source)
    run().assert_outcomes(passed=1)
    assert [asked.headers["authorization"] for asked in upstream.asked] == [f"Bearer {key}"]
    assert key not in (pytester.path / "here.jsonl").read_text(encoding="utf-8")
    upstream.stop()
    run("--llm-cache=offline").assert_outcomes(passed=1)
    with (pytester.path / "here.jsonl").open("a") as file:
        file.write("{}\n")
    result = run("--llm-cache=offline")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*here.jsonl: line 3: *"])


MOVING = """
import os
from pathlib import Path
import openai

def test_it(llm_cache):
    prompt = f"It is {os.environ['CLOCK']}. The project is {Path.cwd()}, the home {os.environ['ALSO_HOME']}."
    messages = [{"role": "user", "content": prompt}]
    answer = openai.OpenAI().chat.completions.create(model="gpt-test", messages=messages)
    assert answer.choices[0].message.content == f"{Path.cwd()}/main.py, at {os.environ['CLOCK']}"
"""


async def answer_about_the_project(asked: Asked, send: Send) -> None:
    """Name a file of the project, and the time."""
    clock, folder = re.findall(r"It is (\S+)\. The project is (\S+),", asked.json()["messages"][0]["content"])[0]
    await send(response(json.dumps(completion(f"{folder}/main.py, at {clock}")).encode()))


def test_what_was_recorded_at_home_is_played_in_another_folder_on_another_day(
    run: Run, pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.handler = answer_about_the_project
    places = {"home/anna/shop": "2026-11-24T07:54:38Z", "builds/42/checkout": "2026-12-01T21:00:00Z"}
    for folder, clock in places.items():
        project = pytester.mkdir(folder.replace("/", "-"))
        project.joinpath("test_moving.py").write_text(MOVING, encoding="utf-8")
        monkeypatch.chdir(project)
        monkeypatch.setenv("CLOCK", clock)
        monkeypatch.setenv("HOME", str(project.parent / f"{project.name}-user"))
        monkeypatch.setenv("ALSO_HOME", str(project.parent / f"{project.name}-user"))
        if not upstream.asked:
            run("--llm-cache=record").assert_outcomes(passed=1)
            recorded = project / "cassettes"
        else:
            shutil.copytree(recorded, project / "cassettes")
            run("--llm-cache=offline").assert_outcomes(passed=1)
    assert len(upstream.asked) == 1


ASKING_AGAIN = """
import openai, pytest

def ask():
    messages = [{"role": "user", "content": "Name a fruit."}]
    return openai.OpenAI().chat.completions.create(model="m", messages=messages).choices[0].message.content

@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.llm_cache(cassette="fruit.jsonl")
def test_it(llm_cache, turn):
    assert [ask(), ask(), ask()] == ["one", "two", "three"]
"""


def test_a_question_that_is_asked_again_gets_its_next_answer_in_every_test(
    run: Run, pytester: pytest.Pytester, upstream: Upstream
) -> None:
    words = iter(("one", "two", "three"))

    async def handler(asked: Asked, send: Send) -> None:
        await send(response(json.dumps(completion(next(words))).encode()))

    upstream.handler = handler
    pytester.makepyfile(ASKING_AGAIN)
    run("--llm-cache=record", "-k", "first").assert_outcomes(passed=1, deselected=1)
    run("--llm-cache=offline").assert_outcomes(passed=2)
    assert len(upstream.asked) == 3
    assert (pytester.path / "fruit.jsonl").read_text(encoding="utf-8").count('"key"') == 3


@pytest.mark.parametrize(
    ("marker", "setting", "message"),
    [
        ("upsteam='https://api.openai.com/v1'", "", "llm_cache() got an unexpected keyword argument 'upsteam'"),
        ("'a', 'b', 'c'", "", "llm_cache() takes from 0 to 2 positional arguments but 3 were given"),
        ("", "CACHE_NORMALIZE uuids", "'CACHE_NORMALIZE uuids' is not a setting; write it as NAME=VALUE"),
        ("'https://api.openai.com/v1', 'shared.jsonl'", "", ""),
    ],
)
def test_a_marker_or_setting_that_is_not_understood_is_named(
    run: Run, pytester: pytest.Pytester, marker: str, setting: str, message: str
) -> None:
    pytester.makeini(f"[pytest]\nllm_cache_settings = {setting}\n")
    pytester.makepyfile(
        test_agent=f"""
        import pytest

        @pytest.mark.llm_cache({marker})
        def test_it(llm_cache):
            assert llm_cache.cassette.name == "shared.jsonl"
        """
    )
    done = run()
    if message:
        done.assert_outcomes(errors=1)
        assert message in done.stdout.str()
    else:
        done.assert_outcomes(passed=1)


def test_off_leaves_the_environment_alone(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import os
        def test_it(llm_cache):
            assert "OPENAI_BASE_URL" not in os.environ and llm_cache.url == ""
    """)
    run("--llm-cache=off").assert_outcomes(passed=1)


def test_workers_do_not_get_in_each_others_way(run: Run, pytester: pytest.Pytester, upstream: Upstream) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed (scripts/setup dev)")
    pytester.makepyfile(test_agent=AGENT)
    chosen = ("-p", "xdist", "-n", "2", "-k", "test_sync")
    run(*chosen, "--llm-cache=record").assert_outcomes(passed=2)
    upstream.stop()
    run(*chosen).assert_outcomes(passed=2)


def test_it_costs_nothing_where_it_is_not_used(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys
        def test_it():
            assert not {"mitmproxy", "orjson", "click", "diskcache", "redact_secret"} & sys.modules.keys()
    """)
    run().assert_outcomes(passed=1)


def test_its_earlier_name_still_loads_it() -> None:
    earlier = importlib.import_module("computer_use_cache.pytest_plugin")
    assert earlier is importlib.import_module("computer_use_cache.testing.pytest_plugin")


def test_pytest_finds_it_by_its_entry_point() -> None:
    text = (Path(ENTRY).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    group = importlib.import_module("tomllib").loads(text)["project"]["entry-points"]["pytest11"]
    assert importlib.import_module(group["computer_use_cache"]).pytest_addoption
