"""The run of a command, before it has made a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from computer_use_cache.runs.new_run import new_run
from credential_samples import token

NOW = 1_700_000_000.0
PRIVATE_KEY = (
    f"-----BEGIN {'PRIVATE'} KEY----- {'MIIEvQIBADAN' * 5} {'Bgkqhki9w0BA' * 5} -----END {'PRIVATE'} KEY-----".split()
)
"""As a shell hands over an unquoted `$(cat key.pem)`."""


def test_a_run_is_named_after_its_command_and_knows_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run = new_run(("python", "agent.py", "--task", "buy milk"), NOW, parent="other")
    assert (run.name, run.command) == ("python agent.py --task buy milk", ("python", "agent.py", "--task", "buy milk"))
    assert (run.folder, run.began, run.ended, run.status, run.parent) == (str(tmp_path), NOW, NOW, None, "other")


def test_ids_are_short_differ_and_sort_by_time() -> None:
    ids = [new_run(("a",), NOW + second).id for second in range(100)]
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {12}
    assert new_run(("a",), NOW).id != new_run(("a",), NOW).id


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (("agent", token("1a2B"), "x"), ("agent", "<credential>", "x")),
        (("agent", f"--key={token('1a2B')}", "x y"), ("agent", "--key=<credential>", "x y")),
        (("agent", "--api-key", "q8Rt-2Lm9-Xw4Z-" + "s7Kd" * 5), ("agent", "--api-key", "<credential>")),
        (("agent", "--pem", *PRIVATE_KEY, "x"), ("agent", "--pem", *["<credential>"] * len(PRIVATE_KEY), "x")),
        (("agent", "--token-count", "12"), ("agent", "--token-count", "12")),
    ],
)
def test_a_command_line_is_kept_without_credentials(command: tuple[str, ...], kept: tuple[str, ...]) -> None:
    run = new_run(command, NOW)
    assert run.command == kept
    assert run.name == " ".join(kept)
