"""`explain` names the file that it cannot read, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import isolate
from computer_use_cache.cli import main


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    Path(".computer-use-cache").mkdir()


@pytest.mark.parametrize(
    ("content", "arguments", "status", "expected"),
    [
        pytest.param("{nonsense", (), 1, "not valid JSON", id="not JSON"),
        pytest.param("{nonsense", ("--path", "/v1/responses"), 1, "not valid JSON", id="not JSON, with a route"),
        pytest.param("[1]", (), 1, "must be a JSON object", id="not an object"),
        pytest.param("\x00", ("--path", "/v1/messages"), 1, "not valid JSON", id="binary"),
        pytest.param('{"model": "m", "model": "n"}', (), 1, "a member occurs twice", id="a duplicate member"),
        pytest.param('{"seed": 1e99999999999999999999}', (), 1, "too many digits", id="a number out of range"),
        pytest.param("{}", ("--path", "/v1/messages", "-H", "X-Cache-TTL: x"), 1, "X-Cache-TTL", id="a header"),
        pytest.param(None, (), 2, "No such file", id="no file"),
    ],
)  # fmt: skip
def test_an_error_names_the_file(
    content: str | None, arguments: tuple[str, ...], status: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("asked.json").write_text(content)
    assert main(["explain", "asked.json", *arguments]) == status
    told = " ".join(capsys.readouterr().err.split())
    assert "asked.json" in told
    assert expected in told


def test_a_body_of_no_known_api_needs_a_route(capsys: pytest.CaptureFixture[str]) -> None:
    Path("asked.json").write_text('{"question": "?"}')
    assert main(["explain", "asked.json"]) == 2
    assert "give its route with --path" in capsys.readouterr().err


def test_a_folder_is_not_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    Path("asked.json").mkdir()
    assert main(["explain", "asked.json"]) in (1, 2)
    assert "asked.json" in capsys.readouterr().err
