"""scripts/Dockerfile and scripts/compose.yaml, as far as they can be checked without a container engine.

What the image would run is run here: the entry point with the image's settings, and the health check against it. Not
run: the build, the read-only root, the user's rights in the volume, the published port, and Valkey.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import commands
from computer_use_cache.settings import Settings

SCRIPTS = Path(__file__).parents[2] / "scripts"
LINES = [
    line.partition(" ")[::2]
    for line in (SCRIPTS / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
RUN_STAGE = LINES[max(number for number, (word, _) in enumerate(LINES) if word == "FROM") :]
SECRET = re.compile(r"(TOKEN|KEY|PASSWORD|SECRET)$")


def one(word: str) -> str:
    """The rest of the only such instruction of the image that runs."""
    [rest] = [rest for name, rest in RUN_STAGE if name == word]
    return rest


ENVIRONMENT = dict(item.split("=", 1) for item in shlex.split(one("ENV")))


@pytest.fixture(scope="module")
def compose() -> Any:
    return YAML(typ="safe").load(SCRIPTS / "compose.yaml")


def test_what_the_image_copies_is_in_the_checkout() -> None:
    copied = [rest.split()[:-1] for word, rest in LINES if word == "COPY" and not rest.startswith("--from")]
    assert copied
    assert all((SCRIPTS.parent / source).exists() for sources in copied for source in sources)


def test_the_image_runs_as_a_user_that_is_not_root_and_owns_the_volume() -> None:
    user, group = one("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert f"--owner {user} --group {group} {one('VOLUME')}" in one("RUN")


def test_all_that_is_written_to_lies_in_the_volume() -> None:
    volume = Path(one("VOLUME"))
    assert Path(ENVIRONMENT["CACHE_DIR"]).is_relative_to(volume)
    assert Path(ENVIRONMENT["HOME"]).is_relative_to(volume)
    assert one("WORKDIR") == str(volume)


def test_the_image_holds_no_secret() -> None:
    assert not [name for name in ENVIRONMENT if SECRET.search(name)]
    assert not [rest for word, rest in LINES if word == "ARG"]


def command() -> list[str]:
    """What the image runs, with this interpreter's program."""
    program, *arguments = json.loads(one("ENTRYPOINT")) + json.loads(one("CMD"))
    assert program == "computer-use-cache"
    return [sys.executable, "-m", "computer_use_cache", *arguments]


def settings_of_image(folder: Path, **changes: str) -> dict[str, str]:
    """This process's environment with the image's, in a folder of the test's."""
    moved = {name: value.replace(one("VOLUME"), str(folder)) for name, value in ENVIRONMENT.items() if name != "PATH"}
    return {name: value for name, value in os.environ.items() if not SECRET.search(name)} | moved | changes


def test_the_image_refuses_to_start_without_a_client_token(tmp_path: Path) -> None:
    assert ENVIRONMENT["HOST"] == "0.0.0.0"
    done = subprocess.run(
        command(),
        env=settings_of_image(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "set CACHE_CLIENT_TOKEN" in done.stderr


def test_the_health_check_passes_while_the_cache_runs_and_fails_otherwise(tmp_path: Path) -> None:
    keyword, _, health = one("HEALTHCHECK").partition("CMD ")
    assert keyword.startswith("--interval")
    program, *arguments = json.loads(health)
    assert program == "python"
    port = str(commands.free_port())
    # The test itself listens on a loopback address only.
    environment = settings_of_image(tmp_path, HOST="127.0.0.1", PORT=port, CACHE_CLIENT_TOKEN="-".join(("a", "token")))

    def check() -> int:
        call = [sys.executable, *arguments]
        return subprocess.run(call, env=environment, stderr=subprocess.DEVNULL, timeout=30, check=False).returncode

    assert check() != 0
    process = subprocess.Popen(command(), env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert any(f"listening at 127.0.0.1:{port}" in line for line in process.stdout)
        assert check() == 0
        assert {path.name for path in tmp_path.iterdir()} == {"store", ".mitmproxy"}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()


def test_compose_takes_secrets_from_the_environment_only(compose: Any) -> None:
    environment = compose["services"]["cache"]["environment"]
    secrets = {name: value for name, value in environment.items() if SECRET.search(name)}
    assert "CACHE_CLIENT_TOKEN" in secrets
    assert all(re.fullmatch(r"\$\{\w+:[?-][^}]*\}", value) for value in secrets.values())
    assert secrets["CACHE_CLIENT_TOKEN"].startswith("${CACHE_CLIENT_TOKEN:?"), "it is refused when it is not set"
    assert all(value.endswith(":-}") for name, value in secrets.items() if name != "CACHE_CLIENT_TOKEN")


def test_compose_builds_this_image_and_keeps_its_volume(compose: Any) -> None:
    cache = compose["services"]["cache"]
    context = SCRIPTS / cache["build"]["context"]
    assert (context / cache["build"]["dockerfile"]).samefile(SCRIPTS / "Dockerfile")
    assert f"cache:{one('VOLUME')}" in cache["volumes"]
    assert cache["read_only"] is True
    assert cache["cap_drop"] == ["ALL"]
    assert cache["ports"] == [f"127.0.0.1:{one('EXPOSE')}:{ENVIRONMENT['PORT']}"]


def test_compose_names_only_settings_that_there_are(compose: Any) -> None:
    known = {name for item in Settings.declarations() for name in item.variables} | {"CACHE_STORE_URL"}
    assert set(compose["services"]["cache"]["environment"]) <= known


def test_compose_lets_nobody_but_the_cache_reach_valkey(compose: Any) -> None:
    valkey = compose["services"]["valkey"]
    assert "ports" not in valkey
    assert valkey["networks"] == ["store"]
    assert compose["networks"]["store"]["internal"] is True
    assert compose["services"]["cache"]["environment"]["CACHE_STORE_URL"] == "redis://valkey:6379/0"
