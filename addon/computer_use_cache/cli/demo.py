"""`demo`: an agent recorded and replayed within seconds. The agent, the proxy and the calls are real; only the model is
a stand-in, so that it needs neither a key nor a network."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from computer_use_cache.accounting.units import duration
from computer_use_cache.demo import stand_in
from computer_use_cache.errors import CacheError
from computer_use_cache.settings import Settings

_PROGRAM = (sys.executable, "-m", "computer_use_cache")
_AGENT = (sys.executable, "-m", "computer_use_cache.demo.agent")
_PROXIES = ("https_proxy", "http_proxy", "all_proxy")
_COLOURS = {"MISS": "yellow", "HIT": "green"}
_INTRODUCTION = """\
An agent puts a mug into the cart of a web shop and takes a note, twice. A server on this machine stands in
for its model, so nothing here needs a key or a network."""
_OWN_AGENT = """\
Now your own agent:

  computer-use-cache run -- python agent.py     # the first time, its calls are recorded
  computer-use-cache run -- python agent.py     # from then on, they are answered from disk
  computer-use-cache stats                      # what that saved"""


@dataclass(frozen=True, slots=True)
class _Step:
    """A call of the agent's: how long it took, what the cache says about it, and what the model wanted."""

    seconds: float
    outcome: str
    words: str


@click.command()
def demo() -> None:
    """Show what the cache does: record a small agent, and replay it.

    Takes about ten seconds, needs neither a key nor a network, and leaves nothing behind.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(_INTRODUCTION)
    with (
        tempfile.TemporaryDirectory(prefix="computer-use-cache-demo-") as folder,
        stand_in.running() as url,
        console.status("The agent is at work"),
    ):
        runs = [_show(console, Path(folder), url, name) for name in ("first", "second")]
    console.print(f"\n{_compared(*runs)}\n\n{_OWN_AGENT}")


def _show(console: Console, folder: Path, url: str, name: str) -> list[_Step]:
    """One run of the agent in a folder of its own, printed as it goes."""
    console.print(f"\n[bold]$ computer-use-cache run -- python agent.py[/]   [dim]# in {name}/[/]")
    steps = []
    for found in _run(folder, url, name):
        if isinstance(found, _Step):
            steps.append(found)
            words = found.words.replace(f"{folder}{os.sep}", "")
            line = Text.assemble("  ", (f"{found.outcome:<5}", _COLOURS.get(found.outcome, "red")))
            console.print(line.append(f"{duration(found.seconds):>7}  {words}"))
        elif found.startswith("computer-use-cache: "):
            console.print(Text(f"  {found}", "dim"))
    return steps


def _run(folder: Path, url: str, name: str) -> Iterator[_Step | str]:
    """The steps of the agent under `run`, and the other lines that are printed. Raises CacheError if it fails."""
    own_folder = folder / name
    own_folder.mkdir()
    options = ("--base-url", "--upstream", url, "--cache-dir", str(folder / "store"))
    command = [*_PROGRAM, "run", *options, "--set", f"confdir={folder / 'mitmproxy'}", "--", *_AGENT]
    others = []
    with subprocess.Popen(  # noqa: S603  # our own
        command, cwd=own_folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in map(str.rstrip, process.stdout):
            if line.count("\t") == 2:
                seconds, outcome, words = line.split("\t")
                yield _Step(float(seconds), outcome, words)
            else:
                others.append(line)
                yield line
    if process.returncode:
        raise CacheError("the demo's agent failed; this is what it said:\n" + "\n".join(others))


def _environment() -> dict[str, str]:
    """The environment without settings: those of the user are for other agents."""
    settings = {variable for item in Settings.declarations() for variable in item.variables}
    return {name: text for name, text in os.environ.items() if name not in settings and name.lower() not in _PROXIES}


def _compared(first: list[_Step], second: list[_Step]) -> str:
    took = [sum(step.seconds for step in run) for run in (first, second)]
    hits = sum(step.outcome == "HIT" for step in second)
    return (
        f"{hits} of the second run's {len(second)} calls were answered from disk: {duration(took[1])} instead of "
        f"{duration(took[0])}.\nIts time, its folder and its ids differ from the first run's, and its note is in its "
        "own folder."
    )
