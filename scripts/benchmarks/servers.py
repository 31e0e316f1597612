"""Starts and stops the measured programs on free loopback ports: this project, bare mitmdump, and other caches."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).parent
ROOT = BENCHMARKS.parents[1]
PEERS = Path(sys.prefix) / "peers"
"""Other caches are installed here, each into its own environment."""
_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A running server. `path` is its chat route; the head of a hit contains `mark`, in lower case."""

    process: subprocess.Popen[bytes]
    port: int
    path: str = "/v1/chat/completions"
    mark: str = ""
    started_in: float = 0.0

    def memory(self) -> float:
        """Resident memory in MB, without mapped files."""
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1000

    def cpu_seconds(self) -> float:
        """The seconds of CPU that it and its workers have used, in their own code and in the kernel."""
        own = self.process.pid
        workers = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        used = 0
        for process in (own, *workers):
            after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, after_name[11:13]))
        return used / os.sysconf("SC_CLK_TCK")


class Skipped(Exception):
    """Something cannot be measured; the message says why."""


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path], port: int | None, path: str = "", mark: str = "", **environment: str
) -> Iterator[Server]:
    """Start a command and wait until it listens on `port`, or, if that is None, on the port named in its output."""
    given = environment_with(**environment)
    begun = time.monotonic()
    # Not a pipe: nobody reads this log, and a pipe fills up after some thousand lines.
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen([str(part) for part in command], env=given, stdout=log, stderr=subprocess.STDOUT)
        try:
            found = _named_port(process, Path(log.name)) if port is None else _when_open(process, port)
            yield Server(process, found, path or Server.path, mark, time.monotonic() - begun)
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment_with(**given: str) -> dict[str, str]:
    """The environment of this process without settings of the cache, and with these variables."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("CACHE_")}
    paths = f"{BENCHMARKS.parent}{os.pathsep}{ROOT / 'addon'}"
    return clean | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | given


def _named_port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"(?:listening at 127\.0\.0\.1:|^)(\d+)\.?$", log.read_text(), re.MULTILINE):
            return int(found[1])
        time.sleep(0.005)
    raise RuntimeError(f"it did not start: {log.read_text()}")


def _when_open(process: subprocess.Popen[bytes], port: int) -> int:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return port
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} did not listen (exit status {process.poll()})")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def upstream(chunks: int = 1, gap: float = 0.0) -> contextlib.AbstractContextManager[Server]:
    """The model API behind all of them."""
    return serving([sys.executable, BENCHMARKS / "upstream.py", str(chunks), str(gap)], None)


def upstream_calls(server: Server) -> int:
    """How many requests the model API has received."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:
        return int(answer.read())


def ours(folder: Path, behind: Server, *flags: str, **environment: str) -> contextlib.AbstractContextManager[Server]:
    """This project's `start`, with its store in `folder`."""
    command = [sys.executable, "-m", "computer_use_cache", "start", "--port", "0", *flags]
    return _cache(command, folder, behind, environment)


def plain(folder: Path, behind: Server, **environment: str) -> contextlib.AbstractContextManager[Server]:
    """This project in stock mitmdump."""
    return _cache(_mitmdump(behind, ROOT / "addon" / "computer_use_cache_addon.py"), folder, behind, environment)


def _cache(
    command: Sequence[str | Path], folder: Path, behind: Server, environment: dict[str, str]
) -> contextlib.AbstractContextManager[Server]:
    given = {"UPSTREAM_BASE_URL": f"http://127.0.0.1:{behind.port}/v1", "CACHE_DIR": str(folder)}
    return serving(command, None, mark="x-computer-use-cache: hit", **given, **environment)


def bare(behind: Server, kind: str = "constant") -> contextlib.AbstractContextManager[Server]:
    """mitmdump with an addon that sets a constant response, or, for `stream`, passes streams through."""
    return serving(_mitmdump(behind, BENCHMARKS / "bare.py"), None, BENCH_BARE=kind)


def naive(folder: Path, behind: Server) -> contextlib.AbstractContextManager[Server]:
    """mitmdump with the simplest cache."""
    return serving(_mitmdump(behind, BENCHMARKS / "naive.py"), None, mark="x-naive: hit", BENCH_STORE=str(folder))


def _mitmdump(behind: Server, addon: Path) -> list[str | Path]:
    mode = f"reverse:http://127.0.0.1:{behind.port}@127.0.0.1:0"
    options = ["--set", "flow_detail=0", "--set", "connection_strategy=lazy"]
    return [Path(sys.executable).parent / "mitmdump", "-s", addon, "--mode", mode, *options]


# -- peers


def llm_cache_proxy(folder: Path, behind: Server, install: bool) -> contextlib.AbstractContextManager[Server]:
    """llm-cache-proxy, the PyPI package; raises Skipped."""
    place, port = _installed("llm-cache-proxy", install), free_port()
    environment = {"OPENAI_UPSTREAM": f"http://127.0.0.1:{behind.port}", "LLM_CACHE_DIR": str(folder)}
    environment["LLM_CACHE_PORT"] = str(port)
    command = [place / "bin" / "llm-cache-proxy"]
    return serving(command, port, "/openai/v1/chat/completions", "x-llm-cache: hit", **environment)


def litellm(folder: Path, behind: Server, install: bool) -> contextlib.AbstractContextManager[Server]:
    """LiteLLM's proxy with its cache in memory; raises Skipped."""
    place, port = _installed("litellm[proxy]", install), free_port()
    model = {"model": "openai/gpt-bench", "api_base": f"http://127.0.0.1:{behind.port}/v1", "api_key": "none"}
    settings = {"cache": True, "cache_params": {"type": "local"}}
    config = {"model_list": [{"model_name": "gpt-bench", "litellm_params": model}], "litellm_settings": settings}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [place / "bin" / "litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--telemetry", "False"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # it serves this machine only
    return serving(command, port, mark="x-litellm-cache-key", **environment)


def _installed(package: str, install: bool) -> Path:
    """The environment of another cache, created if it is missing. Raises Skipped."""
    place = PEERS / re.sub(r"\W+", "-", package).strip("-")
    stamp = place / "installed"
    if stamp.exists():
        return place
    if not install:
        raise Skipped(f"{package} is not installed; a run without --quick installs it into {PEERS.name}/")
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True, capture_output=True)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        pip = [place / "bin" / "python", "-m", "pip", *quiet, "install", package]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Skipped(f"{package} could not be installed: {told[-1] if told else error}") from None
    stamp.touch()
    return place
