"""What `stats` prints, once and again and again."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import commands
from computer_use_cache.accounting.ledger import Ledger
from computer_use_cache.cli import main
from computer_use_cache.models import Cost, Outcome
from computer_use_cache.store.disk import DiskStore

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands.isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """The counters in the folder that `stats` reads."""
    store = DiskStore(Path(".computer-use-cache"), 2**30)
    yield Ledger(store)
    store.close()


def shown(capsys: Output) -> list[list[str]]:
    """The lines that `stats` prints, in cells without the frames of tables."""
    assert main(["stats"]) == 0
    lines = capsys.readouterr().out.replace("|", "│").splitlines()
    return [[cell.strip() for cell in line.strip(" │┃").split("│")] for line in lines]


def test_a_store_where_nothing_was_asked_has_no_tables(ledger: Ledger, capsys: Output) -> None:
    ledger.flush(time.time())
    lines = [" ".join(cells) for cells in shown(capsys)]
    assert lines[0] == "hit rate    0.0% (0 hits, 0 misses, 0 stale, 0 coalesced)"
    assert lines[1] == "saved       $0.00, 0 ms, 0 tokens in, 0 out"
    assert lines[-1] == "bypasses    0"


def test_studies_that_were_put_off_are_counted(ledger: Ledger, capsys: Output) -> None:
    for count in (*3 * [ledger.study_put_off], ledger.study_made_up, ledger.study_dropped):
        count()
    ledger.flush(time.time())
    assert ["studies put off  3 (1 made up for, 1 dropped)"] in shown(capsys)


def test_money_and_time_are_shown_in_total_and_of_each_model(ledger: Ledger, capsys: Output) -> None:
    for _ in range(3):
        ledger.served(Outcome.HIT, "priced", Cost(10, 5, 0.0014, 2.0))
    ledger.served(Outcome.MISS, "priced", Cost(10, 5, 0.25, 2.0))
    ledger.served(Outcome.MISS, "half", Cost(10, 5, 0.5, 2.0))
    ledger.served(Outcome.MISS, "half", Cost(10, 5, None, 2.0))
    ledger.served(Outcome.MISS, "[red]\x1b[31m", Cost(1000, 5, None, 200.0))
    ledger.flush(time.time())
    lines = shown(capsys)
    assert lines[0] == ["hit rate    42.9% (3 hits, 4 misses, 0 stale, 0 coalesced)"]
    assert lines[1] == ["saved       $0.0042, 6.0 s, 30 tokens in, 15 out"]
    assert lines[2] == ["spent       > $0.75, 3.4 min, 1,030 tokens in, 20 out"]
    models = [cells for cells in lines if len(cells) == 5]
    assert models == [
        ["priced", "3", "1", "$0.0042, 6.0 s", "$0.25, 2.0 s"],
        ["half", "0", "2", "$0.00, 0 ms", "> $0.50, 4.0 s"],
        ["[red]?[31m", "0", "1", "$0.00, 0 ms", "price unknown, 3.3 min"],
    ]
    assert ["The price of some answers is not known; the sums leave them out."] in lines


def test_a_long_name_is_there_to_its_end_where_only_ascii_can_be_written(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.served(Outcome.HIT, "m" * 100 + "-end", Cost(10, 5, 1.0, 2.0))
    ledger.flush(time.time())
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = commands.run_module("stats")
    assert (done.returncode, done.stderr) == (0, "")
    names = (line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|"))
    assert "".join(names).endswith("m-end")


def test_an_hour_has_a_bar_as_long_as_it_was_busy_and_filled_by_its_hits(ledger: Ledger, capsys: Output) -> None:
    now = time.time()
    for age, hits, misses in ((2, 10, 0), (1, 2, 3), (0, 0, 1)):
        for outcome, times in ((Outcome.HIT, hits), (Outcome.MISS, misses)):
            for _ in range(times):
                ledger.served(outcome, "m", Cost(usd=0.0))
        ledger.flush(now - age * 3600)
    hours = [cells[0].split()[2:] for cells in shown(capsys)][-3:]
    assert [[*numbers[:2], sum(map(len, numbers[2:]))] for numbers in hours] == [
        ["10", "0", 30],
        ["2", "3", 6],
        ["0", "1", 0],
    ]


def test_a_watch_shows_what_changes_until_it_is_interrupted(ledger: Ledger) -> None:
    ledger.flush(time.time())
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "computer_use_cache", "stats", "--watch", "--interval", "0.1"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, text=True) as process:
        os.close(slave)
        until(master, b"0.0%")
        ledger.served(Outcome.HIT, "m", Cost())
        ledger.flush(time.time())
        until(master, b"100.0%")
        process.send_signal(signal.SIGINT)
        until(master, b"\x1b[?25h")  # the cursor is there again
        assert (process.wait(), process.stderr and process.stderr.read()) == (0, "")
    os.close(master)


def until(terminal: int, text: bytes) -> None:
    """Read what a terminal shows, up to this."""
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 65536)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--watch"], "--watch needs a terminal"),
        (["--watch", "--json"], "give either --watch or --json"),
        (["--watch", "--interval", "0"], "'--interval'"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(arguments: list[str], error: str, capsys: Output) -> None:
    assert main(["stats", *arguments]) == 2
    assert error in capsys.readouterr().err
