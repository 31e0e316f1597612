"""`demo`: an agent recorded and replayed within seconds, and a page of both runs.

The agent, the proxy and the calls are real. Only the model is a stand-in, so this needs neither a key nor a network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from computer_use_cache.demo import stand_in
from computer_use_cache.errors import CacheError
from computer_use_cache.settings import Settings
from computer_use_cache.units import duration

_PROGRAM = (sys.executable, "-m", "computer_use_cache")
_PYTHON = Path(sys.executable)
_AGENT = ("agent.py", "shop.png", "cart.png")
"""The agent and its screenshots."""
_PROXIES = ("https_proxy", "http_proxy", "all_proxy")
_COLOURS = {"MISS": "yellow", "HIT": "green"}
_INTRODUCTION = """\
An agent puts a mug into the cart of a web shop and takes a note, twice. A server on this machine stands in
for its model, so nothing here needs a key or a network."""
_OWN_AGENT = """\
Now your own agent:

  computer-use-cache run -- python agent.py     # the first time, its calls are recorded
  computer-use-cache run -- python agent.py     # from then on, they are answered from disk
  computer-use-cache report --open              # each step, with what the agent saw and did"""


@dataclass(frozen=True, slots=True)
class _Step:
    """A call of the agent's: how long it took, what the cache says about it, and what the model wanted."""

    seconds: float
    outcome: str
    words: str


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="computer-use-cache-demo.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the page of the two runs.",
)
@click.option("--no-open", is_flag=True, help="Do not show the page in the browser.")
def demo(output: Path, no_open: bool) -> None:
    """Record a small agent, replay it, and show both runs.

    Takes about ten seconds, needs neither a key nor a network, and leaves only the page behind.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(_INTRODUCTION)
    with (
        tempfile.TemporaryDirectory(prefix="cache-demo-") as folder,
        stand_in.running() as url,
        console.status("The agent is at work"),
    ):
        runs = [_show(console, Path(folder), url, name) for name in ("first", "second")]
        _report(Path(folder), output)
    console.print(
        f"\n{_compared(*runs)}\n\nBoth runs, step by step, as a page: [bold]{escape(str(output))}[/]\n\n{_OWN_AGENT}"
    )
    if not no_open and _has_display():
        webbrowser.open(output.resolve().as_uri())


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
    for file in _AGENT:
        shutil.copy(Path(stand_in.__file__).with_name(file), own_folder)
    options = ("--base-url", "--upstream", url, "--cache-dir", str(folder / "store"))
    command = [*_PROGRAM, "run", *options, "--set", f"confdir={folder / 'mitmproxy'}", "--", _PYTHON.name, _AGENT[0]]
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


def _report(folder: Path, output: Path) -> None:
    """Write the page of the last two runs. Raises CacheError if it cannot be written."""
    command = [*_PROGRAM, "report", "last~1", "last", "-o", str(output)]
    environment = _environment() | {"CACHE_DIR": str(folder / "store")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # our own
    if done.returncode:
        raise CacheError(done.stderr.strip().removeprefix("Error: "))


def _has_display() -> bool:
    """Whether a browser can be shown in a window: one that runs in the terminal would take it over."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _environment() -> dict[str, str]:
    """The environment with this Python on the PATH, and without settings: those of the user are for other agents."""
    settings = {variable for item in Settings.declarations() for variable in item.variables}
    kept = {name: text for name, text in os.environ.items() if name not in settings and name.lower() not in _PROXIES}
    return kept | {"PATH": f"{_PYTHON.parent}{os.pathsep}{kept.get('PATH', '')}"}


def _compared(first: list[_Step], second: list[_Step]) -> str:
    took = [sum(step.seconds for step in run) for run in (first, second)]
    hits = sum(step.outcome == "HIT" for step in second)
    return (
        f"{hits} of the second run's {len(second)} calls were answered from disk: {duration(took[1])} instead of "
        f"{duration(took[0])}.\nThe second run had another time, another folder and other ids, and wrote its note into "
        "its own folder."
    )
