from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import commands
from computer_use_cache import __version__
from computer_use_cache.cli import main
from computer_use_cache.launch import launcher
from computer_use_cache.models import Entry, Shape
from computer_use_cache.setting_declaration import Surface
from computer_use_cache.settings import Settings
from computer_use_cache.store.disk import DiskStore
from computer_use_cache.units import counted
from made import put

Output = pytest.CaptureFixture[str]
HIDDEN = "-".join(("not", "for", "printing"))


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    return commands.isolate(monkeypatch, tmp_path)


def fill(folder: str = ".computer-use-cache") -> None:
    store = DiskStore(Path(folder), 2**30)
    for number, (model, namespace, age) in enumerate([("a", "", 10), ("a", "n", 1000), ("b", "", 1000)]):
        made = time.time() - age
        put(store, Entry(str(number), "chat", Shape.JSON, model, namespace, (), b"{}", made, None, 0.0), None)
    store.close()


def left(folder: str = ".computer-use-cache") -> list[str]:
    store = DiskStore(Path(folder), 2**30)
    try:
        return sorted(entry.key for entry in store.entries())
    finally:
        store.close()


# -- usage


@pytest.mark.parametrize(
    ("arguments", "status", "output", "error"),
    [
        (["version"], 0, __version__, ""),
        (["entry-path"], 0, str(launcher.entry_path()), ""),
        (["--help"], 0, "doctor", ""),
        (["nonsense"], 2, "", "No such command 'nonsense'.\n"),
        (["starrt"], 2, "", "No such command 'starrt'. Did you mean 'start'?"),
        (["start", "--set", "cache_mood=off"], 1, "", "Error: --set cache_mood=off: did you mean cache_mode=…?"),
        (["run", "--set", "cache_x=1", "true"], 1, "", "Error: --set cache_x=1: there is no such option"),
        (["start", "--nonsense"], 2, "", "No such option"),
        (["env", "--shell", "tcsh"], 2, "", "'bash', 'fish', 'powershell'"),
        (["import"], 2, "", "Missing argument"),
        (["import", "absent"], 2, "", "'absent' does not exist"),
        (["stats"], 1, "", "there is no store in .computer-use-cache: run this where the cache was started"),
    ],
)
def test_a_command_line_from_outside(arguments: list[str], status: int, output: str, error: str) -> None:
    done = commands.run_module(*arguments)
    assert done.returncode == status
    assert output in done.stdout
    assert error in done.stderr
    assert bool(done.stderr) == bool(status)


def test_a_file_that_cannot_be_written_is_named(capsys: Output) -> None:
    Path("a-file").touch()
    assert main(["init", "--dir", "a-file/below"]) == 1
    assert capsys.readouterr().err == "Error: a-file/below: Not a directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", [["doctor", "--json"], ["version"], ["--help"]])
def test_an_output_that_is_full_is_an_error_without_a_traceback(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "computer_use_cache", *command], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device\n")


def test_every_command_says_in_one_whole_sentence_what_it_does(capsys: Output) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []
    for command in ("serve", "proxy", *(line.split()[0] for line in listed)):
        assert main([command, "--help"]) == 0
        assert f"Usage: computer-use-cache {command} " in capsys.readouterr().out


def test_start_has_a_flag_for_every_setting_that_is_not_secret(capsys: Output) -> None:
    main(["start", "--help"])
    shown = capsys.readouterr().out.split()
    for item in Settings.declarations():
        assert ("--" + item.variables[0].lower().replace("_", "-") in shown) is (
            item.surface is not Surface.ENVIRONMENT
        )


# -- env and init


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "export OPENAI_BASE_URL='http://127.0.0.1:{port}/v1'"),
        ([], "export ANTHROPIC_BASE_URL='http://127.0.0.1:{port}'"),
        (["--port", "81"], "export OPENAI_BASE_URL='http://127.0.0.1:81/v1'"),
        (["--host", "::1", "--port", "81"], "export OPENAI_BASE_URL='http://[::1]:81/v1'"),
        (["--host", "0.0.0.0", "--port", "81"], "export OPENAI_BASE_URL='http://127.0.0.1:81/v1'"),
        (["--shell", "fish"], "set -gx OPENAI_BASE_URL 'http://127.0.0.1:{port}/v1'"),
        (["--shell", "powershell"], "$env:OPENAI_BASE_URL = 'http://127.0.0.1:{port}/v1'"),
    ],
)
def test_env_prints_the_line(arguments: list[str], line: str, port: int, capsys: Output) -> None:
    assert main(["env", *arguments]) == 0
    assert line.format(port=port) in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("environment", "key"),
    [({}, "unused"), ({"UPSTREAM_API_KEY": "u"}, "u"), ({"OPENAI_API_KEY": "o", "UPSTREAM_API_KEY": "u"}, "o")],
)
def test_a_shell_that_reads_env_has_a_key_and_keeps_its_own(
    environment: dict[str, str], key: str, capsys: Output
) -> None:
    main(["env"])
    script = capsys.readouterr().out + 'echo "$OPENAI_API_KEY"'
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == key


def test_init_explains_every_setting_and_sets_none_until_edited(capsys: Output) -> None:
    assert main(["init"]) == 0
    sourcing = capsys.readouterr().out.partition("then run: ")[2].removesuffix("computer-use-cache start\n")
    text = Path(".env").read_text()
    for item in Settings.declarations():
        assert f"# {item.help}\n" in text
        assert f"\n#{item.variables[0]}={item.default}\n" in text
    done = subprocess.run(["/bin/sh", "-c", f"{sourcing} env"], env={}, capture_output=True, text=True, check=True)
    assert "CACHE" not in done.stdout
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600


def test_an_edited_env_file_is_what_a_shell_sets() -> None:
    main(["init"])
    text = Path(".env").read_text()
    declared = [f"{item.variables[0]}={item.default}" for item in Settings.declarations()]
    for line in declared:
        text = text.replace(f"\n#{line}\n", f"\n{line}\n")
    Path(".env").write_text(text)
    done = subprocess.run(
        ["/bin/sh", "-c", "set -a; . ./.env; env"], env={}, capture_output=True, text=True, check=True
    )
    assert set(declared) <= set(done.stdout.splitlines())


def test_init_leaves_a_file_alone_unless_forced(capsys: Output) -> None:
    Path(".env").write_text("MINE=1\n")
    assert main(["init"]) == 1
    assert "--force" in capsys.readouterr().err
    assert Path(".env").read_text() == "MINE=1\n"
    assert main(["init", "--force"]) == 0
    assert "Overwrote .env" in capsys.readouterr().out
    assert "MINE" not in Path(".env").read_text()


# -- stats and clear


def test_stats_of_a_folder_are_those_of_the_store(capsys: Output) -> None:
    fill()
    assert main(["stats", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["entries"], counted["hits"], counted["cache_dir"]) == (3, 0, "./.computer-use-cache")
    assert main(["stats"]) == 0
    assert "entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], []),
        (["--model", "a"], ["2"]),
        (["--namespace", "n"], ["0", "2"]),
        (["--older-than", "500"], ["0"]),
        (["--older-than", "0"], []),
        (["--model", "b", "--older-than", "500"], ["0", "1"]),
        (["--model", "none"], ["0", "1", "2"]),
    ],
)
@pytest.mark.parametrize("running", [False, True])
def test_clear_removes_what_all_options_match(
    arguments: list[str], kept: list[str], running: bool, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    fill()
    if running:
        with commands.started() as proxy:
            assert main(["clear", "--yes", "--url", proxy.url + "/", *arguments]) == 0
    else:
        assert main(["clear", "--yes", *arguments]) == 0
    assert f"Removed {counted(3 - len(kept), 'entry', 'entries')} from" in capsys.readouterr().out
    assert left() == kept


@pytest.mark.parametrize(("typed", "kept"), [("n", ["0", "1", "2"]), ("y", [])])
def test_clear_asks_on_a_terminal(typed: str, kept: list[str]) -> None:
    fill()
    inside, terminal = os.openpty()
    try:
        os.write(terminal, f"{typed}\n".encode())
        command = [sys.executable, "-m", "computer_use_cache", "clear"]
        done = subprocess.run(command, stdin=inside, capture_output=True, text=True, check=False)
    finally:
        os.close(inside)
        os.close(terminal)
    assert (done.returncode, "--yes does not ask" in done.stderr) == (0 if typed == "y" else 1, True)
    assert left() == kept


def test_clear_asks_nobody_where_there_is_no_terminal() -> None:
    fill()
    done = subprocess.run([sys.executable, "-m", "computer_use_cache", "clear"], stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, left()) == (0, [])


@pytest.mark.parametrize("running", [False, True])
def test_clear_takes_one_answer_back(running: bool, capsys: Output) -> None:
    fill()
    with contextlib.ExitStack() as stack:
        url = ["--url", stack.enter_context(commands.started()).url] if running else []
        with contextlib.closing(DiskStore(Path(".computer-use-cache"), 2**30)) as store:
            key = next(store.entries()).key
        assert main(["clear", "--key", key, *url]) == 0
        assert "Removed the entry" in capsys.readouterr().out
        assert main(["clear", "--key", key, *url]) == 1
        assert f"there is no entry {key}" in capsys.readouterr().err
    assert len(left()) == 2


def test_one_key_goes_with_no_other_choice(capsys: Output) -> None:
    fill()
    assert main(["clear", "--key", "0" * 64, "--model", "m"]) == 2
    assert "--key" in capsys.readouterr().err
    assert left() == ["0", "1", "2"]


def test_a_running_proxy_is_asked_rather_than_the_folder(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    fill("elsewhere")
    with commands.started("--cache-dir", "elsewhere") as proxy:
        monkeypatch.setenv("PORT", proxy.url.rpartition(":")[2])
        assert main(["stats", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["entries"], counted["cache_dir"]) == (3, "elsewhere")


def test_the_tokens_of_the_environment_are_sent_to_the_proxy(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    fill()
    monkeypatch.setenv("CACHE_ADMIN_TOKEN", HIDDEN)
    monkeypatch.setenv("CACHE_CLIENT_TOKEN", "me:" + HIDDEN)
    with commands.started() as proxy:
        assert main(["clear", "--yes", "--url", proxy.url]) == 0
        monkeypatch.setenv("CACHE_ADMIN_TOKEN", "wrong")
        assert main(["clear", "--yes", "--url", proxy.url]) == 1
    output = capsys.readouterr()
    assert "Removed 3 entries" in output.out
    assert "401" in output.err


@pytest.mark.parametrize("command", [["stats"], ["clear", "--yes"]])
def test_a_url_where_no_cache_answers_is_an_error(command: list[str], capsys: Output) -> None:
    fill()
    with commands.web_server() as url:
        assert main([*command, "--url", url]) == 1
    assert f"no cache answers at {url}" in capsys.readouterr().err
    assert main([*command, "--url", "nonsense"]) == 1
    assert left() == ["0", "1", "2"]


# -- doctor


def checked(capsys: Output) -> tuple[int, dict[str, bool]]:
    status = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (status == 0)
    return status, {check["name"]: check["ok"] for check in told["checks"]}


def test_doctor_is_content_where_everything_works(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    fill()
    with commands.web_server() as url:
        monkeypatch.setenv("UPSTREAM_BASE_URL", url + "/v1")
        status, checks = checked(capsys)
    assert status == 0
    assert set(checks) == {"python", "mitmproxy", "authority", "entry", "settings", "port", "store", "upstream", "key"}


def test_doctor_hints_at_a_version_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    with commands.web_server() as url:
        for path, is_hinted in (("", True), ("/v1", False)):
            monkeypatch.setenv("UPSTREAM_BASE_URL", url + path)
            assert main(["doctor"]) == 0
            assert ("need /v1 at the end" in capsys.readouterr().out) is is_hinted


@pytest.mark.parametrize(
    ("environment", "failing"),
    [
        ({"UPSTREAM_BASE_URL": "http://127.0.0.1:9/v1"}, "upstream"),
        ({"CACHE_MODE": "offline", "PORT": "{used}"}, "port"),
        ({"CACHE_MODE": "offline", "CACHE_DIR": "a-file"}, "store"),
        ({"CACHE_MODE": "offline", "CACHE_DIR": "a-file/below"}, "store"),
        ({"CACHE_MODE": "offline", "CACHE_STORE_URL": "redis://127.0.0.1:9"}, "store"),
        ({"CACHE_MODE": "fast"}, "settings"),
        ({"HTTPS_PROXY": "socks5://127.0.0.1:9"}, "settings"),
        ({"HOST": "0.0.0.0"}, "settings"),
    ],
)
def test_doctor_exits_1_and_names_what_would_not_work(
    environment: dict[str, str], failing: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    Path("a-file").touch()
    with commands.web_server() as url:
        for name, value in environment.items():
            monkeypatch.setenv(name, value.format(used=url.rpartition(":")[2]))
        status, checks = checked(capsys)
    assert status == 1
    assert [name for name, ok in checks.items() if not ok] == [failing]


def test_doctor_shows_each_setting_with_its_source_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("CACHE_MODE", "offline")
    for variable in ("OPENROUTER_API_KEY", "CACHE_ADMIN_TOKEN", "CACHE_STORE_PASSWORD"):
        monkeypatch.setenv(variable, HIDDEN)
    assert main(["doctor", "--json"]) == 0
    output = capsys.readouterr().out
    told = {each["name"]: each for each in json.loads(output)["settings"]}
    assert (told["CACHE_MODE"]["value"], told["CACHE_MODE"]["source"]) == ("offline", "CACHE_MODE")
    assert (told["CACHE_TTL_SECONDS"]["value"], told["CACHE_TTL_SECONDS"]["source"]) == ("2592000", "default")
    assert told["UPSTREAM_API_KEY"]["source"] == "OPENROUTER_API_KEY"
    assert len(told) == len(list(Settings.declarations()))
    assert main(["doctor"]) == 0
    assert HIDDEN not in output + capsys.readouterr().out


def test_doctor_names_misspelt_settings(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("CACHE_MOED", "offline")
    monkeypatch.setenv("CACHE_URL", "of another program")
    monkeypatch.setenv("CACHE_MODE", "offline")
    assert main(["doctor", "--json"]) == 0
    checks = {each["name"]: each["detail"] for each in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["settings"] == "every value is allowed; CACHE_MOED is not a setting: did you mean CACHE_MODE?"


def test_doctor_says_which_key_goes_where(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("CACHE_MODE", "offline")
    monkeypatch.setenv("OPENAI_API_KEY", HIDDEN)
    for upstream, told in (
        ("https://api.openai.com/v1", "OPENAI_API_KEY is sent to https://api.openai.com in place"),
        ("https://api.anthropic.com/v1", "key: not set; the client's key is forwarded"),
    ):
        monkeypatch.setenv("UPSTREAM_BASE_URL", upstream)
        assert main(["doctor"]) == 0
        assert told in capsys.readouterr().out


def test_doctor_shows_no_password_of_a_url(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("CACHE_STORE_URL", f"redis://:{HIDDEN}@127.0.0.1")
    assert main(["doctor", "--json"]) == 1
    output = capsys.readouterr().out
    assert main(["doctor"]) == 1
    assert HIDDEN not in output + capsys.readouterr().out


def test_doctor_makes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CACHE_MODE", "offline")
    assert main(["doctor"]) == 0
    assert os.listdir(tmp_path) == []


def test_doctor_knows_a_running_cache(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("CACHE_MODE", "offline")
    with commands.started() as proxy:
        monkeypatch.setenv("PORT", proxy.url.rpartition(":")[2])
        assert main(["doctor"]) == 0
    assert f"a cache is running at {proxy.url}" in capsys.readouterr().out


# -- import


def npm_store() -> str:
    entries = Path("old/entries")
    entries.mkdir(parents=True)
    request = {"mode": "completion", "cache_key": "k", "model": "m", "prompt": "p"}
    choice = {"index": 0, "text": "a", "finish_reason": "stop"}
    answer = {"id": "i", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    entry = {"mode": "completion", "request": request, "response": answer, "updated_at": time.time()}
    (entries / "k.json").write_text(json.dumps(entry))
    (entries / "l.json").write_text("{")
    return "old"


def test_run_does_not_load_what_searches_for_near_misses() -> None:
    program = (
        "import sys; from computer_use_cache.cli import run, run_summary; "
        "print({'computer_use_cache.cache.cache', 'computer_use_cache.diagnosis.cures', 'mitmproxy'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", program]) == b"set()\n"


def test_import_says_what_it_kept_and_what_it_skipped(capsys: Output) -> None:
    assert main(["import", npm_store()]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "Imported 1 entry into ./.computer-use-cache."
    assert told[1:] == ["Skipped 1: damaged: the body is not JSON"]
    assert main(["import", "old", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["imported"], again["skipped"]["stored already"]) == (0, 1)
    assert len(left()) == 1


def test_a_folder_that_is_not_a_store_is_an_error_that_says_so(capsys: Output) -> None:
    Path("notes.txt").write_text("hello")
    assert main(["import", "notes.txt"]) == 1
    assert "notes.txt is not one of these: " in capsys.readouterr().err


def har_file(name: str) -> str:
    entry = {
        "startedDateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "time": 1,
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/completions",
            "httpVersion": "HTTP/1.1",
            "headers": [],
            "postData": {"text": '{"model": "m", "prompt": "p"}'},
        },
        "response": {
            "status": 200,
            "httpVersion": "HTTP/1.1",
            "headers": [{"name": "content-type", "value": "application/json"}],
            "content": {"text": '{"model": "m", "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}'},
        },
    }
    Path(name).write_text(json.dumps({"log": {"entries": [entry, {}, entry | {"startedDateTime": "2000-01-01"}]}}))
    return name


def test_what_cannot_be_read_is_named_and_the_rest_is_imported(capsys: Output) -> None:
    Path("notes.txt").write_text("hello")
    assert main(["import", "notes.txt", har_file("anything")]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "Imported 1 entry into ./.computer-use-cache.",
        "Skipped 1: expired",
        "Damaged: anything: entry 2: KeyError 'request'",
    ]
    assert told.err.startswith("Error: notes.txt is not one of these: ")
    assert main(["import", "anything", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["damaged"] == [{"where": "anything: entry 2", "why": "KeyError 'request'"}]
    assert (again["imported"], again["skipped"]) == (0, {"expired": 1, "stored already": 1})


def test_what_export_writes_import_reads_again(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    assert main(["import", har_file("anything")]) == 0
    capsysbinary.readouterr()
    assert main(["export"]) == 0
    printed = capsysbinary.readouterr().out
    assert printed.startswith(b'{"computer_use_cache_export":1}\n{"key":"')
    assert main(["export", "x.jsonl", "--model", "m"]) == 0
    assert Path("x.jsonl").read_bytes() == printed
    told = capsysbinary.readouterr()
    assert (told.out, told.err) == (b"Exported 1 entry to x.jsonl.\n", b""), "and no progress in a pipe"
    monkeypatch.setenv("CACHE_DIR", "other")
    monkeypatch.setenv("CACHE_SCOPE", "credential")
    assert main(["import", "x.jsonl"]) == 0, "the keys are in it, whoever may use them"
    assert main(["export", "y.jsonl"]) == 0
    assert Path("y.jsonl").read_bytes() == printed


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["export"], "there is no store in"), (["export", "absent/x.jsonl"], "absent/x.jsonl cannot be written")],
)
def test_an_export_that_cannot_be_says_why(arguments: list[str], error: str, capsys: Output) -> None:
    if len(arguments) > 1:
        main(["import", har_file("anything")])
    assert main(arguments) == 1
    assert error in capsys.readouterr().err


def test_a_closed_pipe_ends_an_export_without_a_traceback() -> None:
    main(["import", har_file("anything")])
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "computer_use_cache", "export"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_import_on_a_proxy_whose_callers_share_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    assert main(["import", npm_store()]) == 1
    assert "CACHE_SCOPE=shared" in capsys.readouterr().err
