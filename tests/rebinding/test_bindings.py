"""What a run knows about itself, in every form in which it appears."""

from __future__ import annotations

import pytest

from computer_use_cache.rebinding import Bindings
from computer_use_cache.rebinding.literals import Literals

HERE = "cwd=/home/anna/my project,home=/home/anna,user=anna,host=laptop,tmp=/home/anna/.tmp"


def found(text: str, bindings: str = HERE) -> list[tuple[str, str, str | None]]:
    data = text.encode()
    every = sorted(Bindings.parse(bindings).find(data))
    return [(data[start:end].decode(), name, form) for start, end, name, form in every]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in /home/anna/my project/src", ("/home/anna/my project", "cwd", "")),
        ("in /home/anna/other", ("/home/anna", "home", "")),
        ("file:///home/anna/my%20project/a", ("/home/anna/my%20project", "cwd", "url")),
        ("~/.x/projects/-home-anna-my-project/a", ("home-anna-my-project", "cwd", "dashed")),
        ("cd ~/my project", ("~/my project", "cwd", "~")),
        ("cd $HOME/my project", ("$HOME/my project", "cwd", "$HOME")),
        ("see ../.agent/x", ("..", "home", "up")),
        ("USER=anna", ("anna", "user", "name")),
        ('"username": "anna"', ("anna", "user", "name")),
        ("-rw-r--r-- 1 anna staff", ("anna", "user", "name")),
        ("hostname: laptop", ("laptop", "host", "name")),
        ("Linux laptop 6.1", ("laptop", "host", "name")),
        ("/home/anna/.tmp/x1y2/z", ("/home/anna/.tmp/x1y2", "tmp", None)),
        ("/home/anna/.tmp/out/1795791213012/z", ("/home/anna/.tmp/out/1795791213012", "tmp", None)),
    ],
)
def test_a_value_is_found_in_its_form(text: str, expected: tuple[str, str, str | None]) -> None:
    assert found(text) == [expected]


def test_macos_has_two_names_for_some_folders() -> None:
    assert found("in /private/var/w/x/a", "cwd=/var/w/x") == [("/private/var/w/x", "cwd", "private")]


def test_user_and_host_are_known_by_each_other() -> None:
    assert found("anna@laptop:~$") == [("anna", "user", "name"), ("laptop", "host", "name")]


@pytest.mark.parametrize(
    "text",
    ["## Current Project: {}", "**Workspace:** `{}`", '"repo_name": "{}"', "Repository={}, clean", "folder: {}."],
)
def test_the_name_of_the_folder_is_known_by_its_label(text: str) -> None:
    assert found(text.format("app"), "cwd=/srv/app") == [("app", "cwd", "name")]
    for other in ("apple", "app-2", "app/src"):
        assert found(text.format(other), "cwd=/srv/app") == []
    assert found("the project app: an app", "cwd=/srv/app") == []


def test_the_name_of_the_folder_counts_below_the_home_only() -> None:
    bindings = "cwd=/home/anna/project,home=/home/anna"
    expected = [("/home/anna", "home", ""), ("project", "cwd", "name")]
    assert found("/home/anna/.x/tmp/project/memory", bindings) == expected
    assert found("the project, ./project, /srv/project", bindings) == []


@pytest.mark.parametrize(
    "text",
    [
        "anna says hi",
        "anna@example.org",
        "a laptop",
        "/mnt/home/anna",
        "/home/annabel",
        "/home/anna-2/x",
        "../docs",
        "../../.agent",
    ],
)
def test_what_only_looks_like_a_value_is_not_found(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("path", ["/", "/x", "x", ""])
def test_a_folder_that_is_in_every_path_is_not_looked_for(path: str) -> None:
    assert found("/x/y and /", f"cwd={path}" if path else "") == []


@pytest.mark.parametrize("text", ["cwd", "cwd=", "pwd=/x", "cwd=/x,home"])
def test_a_setting_that_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cwd, home, tmp, user, host"):
        Bindings.parse(text)


@pytest.mark.parametrize(
    ("text", "literal", "times"),
    [
        ("run-1 run-12 run-1.", "run-1", 2),
        ("/a/b /a/bc /a/b-c /a/b.c /a/b/c /a/b.", "/a/b", 3),
        ("x/a/b ./a/b (/a/b)", "/a/b", 1),
        ("1.25 11.25 1.255 1.25.", "1.25", 2),
        ("être etre", "tre", 0),
        ("是run-1是", "run-1", 1),
        (r"a\nrun-1\nb", "run-1", 1),
        ("aaa", "a", 0),
        ("", "a", 0),
    ],
)
def test_a_text_is_found_where_it_stands_for_itself(text: str, literal: str, times: int) -> None:
    assert len(list(Literals([literal.encode()]).find(text.encode()))) == times


def test_of_several_texts_the_longest_that_fits_is_found() -> None:
    text = b"/a/b/c /a/b/c-d"  # the second is /a/b with something below it
    assert [text[start:end] for start, end in Literals([b"/a", b"/a/b", b"/a/b/c"]).find(text)] == [b"/a/b/c", b"/a/b"]
