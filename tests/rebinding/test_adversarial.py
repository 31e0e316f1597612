"""Pairs of requests that are made to lead astray: each recorded answer is right for the present request, or refused."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from rebinding.conversations import called, carried, chat, said, template, text_of

from computer_use_cache.rebinding import Cause, Rebound, Refusal

MISS = None
"""The requests are different questions."""
A, B = "3f2b8c1e-9d4a-4c6b-8e7f-1a2b3c4d5e6f", "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
C, D = "0d9e8f7a-6b5c-4d3e-2f1a-b0c9d8e7f6a5", "7e6d5c4b-3a29-4180-9f8e-7d6c5b4a3928"
OLD, NEW = "cwd=/home/anna/project,home=/home/anna,user=anna", "cwd=/home/hans/checkout/app,home=/home/hans,user=hans"
WIN_OLD = r"cwd=C:\Users\anna\project,home=C:\Users\anna"
WIN_NEW = r"cwd=D:\ci\hans\app,home=D:\ci\hans"


@dataclass(frozen=True)
class Pair:
    name: str
    recorded: str
    present: str
    answer: str
    expected: str | Cause | None
    """The text for the present request, the cause of a refusal, or MISS."""
    bindings: tuple[str, str] = ("", "")
    arguments: bool = False
    """Whether the answer is the arguments of a tool and not a text."""


def bound(name: str, recorded: str, present: str, answer: str, expected: str | Cause | None, **more: bool) -> Pair:
    return Pair(name, recorded, present, answer, expected, (OLD, NEW), **more)


IDS = [
    Pair("an id that moved", f"id {A}", f"id {B}", f"It is {A}.", f"It is {B}."),
    Pair("an id without a move", f"id {A}", f"id {A}", f"It is {A}.", f"It is {A}."),
    Pair("two ids", f"{A} and {B}", f"{C} and {D}", f"first {A}, then {B}", f"first {C}, then {D}"),
    Pair("two ids swapped", f"{A} and {B}", f"{B} and {A}", f"first {A}, then {B}", f"first {B}, then {A}"),
    Pair("two equal ids become two", f"{A} and {A}", f"{C} and {D}", f"both are {A}", MISS),
    Pair("two ids become one", f"{A} and {B}", f"{C} and {C}", f"{A} is not {B}", MISS),
    Pair("one of two ids moved", f"{A} and {B}", f"{A} and {D}", f"{B}, {A}", f"{D}, {A}"),
    Pair("an id in capitals is another text", f"id {A}", f"id {B}", f"It is {A.upper()}", Cause.TRACE),
    Pair("the beginning of an id", f"id {A}", f"id {B}", f"It is {A[:8]}…", Cause.TRACE),
    Pair("an id inside a longer word", f"id {A}", f"id {B}", f"x{A}y", Cause.TRACE),
    Pair("an id that only the answer has", f"id {A}", f"id {B}", f"new: {C}", f"new: {C}"),
    Pair("an id with underscores around it", f"run_{A}_log", f"run_{B}_log", f"run_{A}_log", f"run_{B}_log"),
    Pair("ids of other lengths", "req_a1b2c3d4e5f6g7h8", "req_z9y8x7w6v5u4t3s2r1q0", "req_a1b2c3d4e5f6g7h8", "req_z9y8x7w6v5u4t3s2r1q0"),
    Pair("a long hex id", "trace 4bf92f3577b34da6a3ce929d0e0e4736", "trace 00f067aa0ba902b7a1b2c3d4e5f60718", "see 4bf92f3577b34da6a3ce929d0e0e4736", "see 00f067aa0ba902b7a1b2c3d4e5f60718"),
    Pair("a commit", "HEAD is 38bda9f8a7e75a3912f308a4159d45dce8992d43", "HEAD is 40f24e9817cc1a00945dc10b7a371fb6e60ab763", "ok", MISS),
    Pair("a short commit in a log", "38bda9f Begin", "40f24e9 Begin", "ok", MISS),
    Pair("a commit that a tool reports", "[main 38bda9f] Begin", "[main 40f24e9] Begin", "Committed as 38bda9f.", "Committed as 40f24e9."),
    Pair("prices", "It costs $12.50", "It costs $13.50", "cheap", MISS),
    Pair("counts", "There are 1234 files", "There are 1235 files", "1234 files", MISS),
    Pair("a version", "node 20.11.1", "node 20.11.2", "ok", MISS),
    Pair("a checksum of forty digits", "sha1 " + "0a" * 20, "sha1 " + "0b" * 20, "ok", MISS),
    Pair("a long number", "card 1234567812345678", "card 1234567812345679", "ok", MISS),
    Pair("words in place of ids", "task_implementation_of_everything", "task_documentation_of_everything", "ok", MISS),
    Pair("the same word beside an id", f"uuid: {A}", f"uuid: {B}", "What a uuid!", "What a uuid!"),
]  # fmt: skip
PATHS = [
    Pair("a temporary folder", "made /tmp/agent-Ab3dEf9h", "made /tmp/agent-Zx8yWv7u", "echo > /tmp/agent-Ab3dEf9h/r.txt", "echo > /tmp/agent-Zx8yWv7u/r.txt"),
    Pair("a prefix of another", "/tmp/run1 and /tmp/run12", "/tmp/run7 and /tmp/run34", "rm /tmp/run12 /tmp/run1", "rm /tmp/run34 /tmp/run7"),
    Pair("a longer name that only the answer has", "made /tmp/run-a1b2c3", "made /tmp/run-d4e5f6", "cat /tmp/run-a1b2c3x", Cause.TRACE),
    Pair("the random name alone", "made /tmp/agent-Ab3dEf9h", "made /tmp/agent-Zx8yWv7u", "in agent-Ab3dEf9h", "in agent-Zx8yWv7u"),
    Pair("the random part alone", "made /tmp/agent-Ab3dEf9h", "made /tmp/agent-Zx8yWv7u", "in Ab3dEf9h", Cause.TRACE),
    Pair("names that someone chose", "read /tmp/invoices.csv", "read /tmp/orders.csv", "the invoices", Cause.NAMES),
    Pair("the name where `ls` lists it", "made /tmp/tmp.k3J9x2Lq\nls: tmp.k3J9x2Lq", "made /tmp/tmp.Zq7w8E1r\nls: tmp.Zq7w8E1r", "/tmp/tmp.k3J9x2Lq", "/tmp/tmp.Zq7w8E1r"),
    Pair("another name where `ls` lists it", "made /tmp/tmp.k3J9x2Lq\nls: tmp.k3J9x2Lq", "made /tmp/tmp.Zq7w8E1r\nls: tmp.Aa1Bb2Cc", "x", MISS),
    Pair("a folder of macOS", "in /var/folders/ab/c1/T/tmp3fk2j1", "in /var/folders/xy/z9/T/tmp8qw7e6", "/var/folders/ab/c1/T/tmp3fk2j1/a", "/var/folders/xy/z9/T/tmp8qw7e6/a"),
    Pair("a path that only looks temporary", "see /srv/tmp/agent-a1b2", "see /srv/tmp/agent-c3d4", "ok", MISS),
    bound("the project's folder", "cwd: /home/anna/project", "cwd: /home/hans/checkout/app", "cd /home/anna/project/src", "cd /home/hans/checkout/app/src"),
    bound("the home beside it", "/home/anna/project and /home/anna", "/home/hans/checkout/app and /home/hans", "/home/anna/.bashrc", "/home/hans/.bashrc"),
    bound("a neighbour of the folder", "cwd: /home/anna/project", "cwd: /home/hans/checkout/app", "ls /home/anna/project-old", "ls /home/hans/project-old"),
    bound("a folder that goes on with a dot", "cwd: /home/anna/project", "cwd: /home/hans/checkout/app", "ls /home/anna/project.bak", "ls /home/hans/project.bak"),
    bound("the end of a sentence", "In /home/anna/project.", "In /home/hans/checkout/app.", "It is /home/anna/project.", "It is /home/hans/checkout/app."),
    bound("the folder's name as a word", "the project in /home/anna/project", "the project in /home/hans/checkout/app", "The project is done.", "The project is done."),
    bound("the folder's name in a path of the home", "/home/anna/.gemini/tmp/project/x", "/home/hans/.gemini/tmp/app/x", "/home/anna/.gemini/tmp/project/y", "/home/hans/.gemini/tmp/app/y"),
    bound("dashes for slashes", "memory: ~/.claude/projects/-home-anna-project/m", "memory: ~/.claude/projects/-home-hans-checkout-app/m", "-home-anna-project/x", "-home-hans-checkout-app/x"),
    bound("a tilde", "in ~/project", "in ~/checkout/app", "cd ~/project/src", "cd ~/checkout/app/src"),
    bound("a file's URL", "file:///home/anna/project/a", "file:///home/hans/checkout/app/a", "file:///home/anna/project/b", "file:///home/hans/checkout/app/b"),
    bound("the user's name as a word", "anna says hi", "hans says hi", "ok", MISS),
    bound("the user behind a label", "User: anna", "User: hans", "ok", "ok"),
    bound("a newline of JSON before a path", r'{"out": "ok\n/home/anna/project\n"}', r'{"out": "ok\n/home/hans/checkout/app\n"}', "/home/anna/project", "/home/hans/checkout/app"),
    bound("the folder inside a URL's path", "cwd /home/anna/project", "cwd /home/hans/checkout/app", "https://example.org/home/anna/project", Cause.TRACE),
    bound("the folder when only the answer has it", "Hello", "Hello", "cd /home/anna/project", "cd /home/hans/checkout/app"),
    Pair("a bound folder that lies below /tmp", "in /tmp/w1/project", "in /tmp/w2/app", "/tmp/w1/project/x", "/tmp/w2/app/x", ("cwd=/tmp/w1/project", "cwd=/tmp/w2/app")),
    Pair("Windows", "in C:\\Users\\anna\\project", "in D:\\ci\\hans\\app", "cd C:\\Users\\anna\\project\\src", "cd D:\\ci\\hans\\app\\src", (WIN_OLD, WIN_NEW)),
    Pair("Windows with slashes", "in C:/Users/anna/project", "in D:/ci/hans/app", "C:/Users/anna/project/x", "D:/ci/hans/app/x", (WIN_OLD, WIN_NEW)),
    Pair("Windows in arguments", "in C:\\Users\\anna\\project", "in D:\\ci\\hans\\app", json.dumps({"cwd": "C:\\Users\\anna\\project"}), json.dumps({"cwd": "D:\\ci\\hans\\app"}), (WIN_OLD, WIN_NEW), arguments=True),
    Pair("from Linux to Windows", "cwd: /home/anna/project", "cwd: D:\\ci\\hans\\app", "/home/anna/project", Cause.ESCAPES, (OLD, WIN_NEW)),
]  # fmt: skip
TIMES = [
    Pair("a date", "Today is 2026-11-26.", "Today is 2026-11-28.", "On 2026-11-26 I ran it.", "On 2026-11-28 I ran it."),
    Pair("a time", "It is 2026-11-26T21:23:51.9Z", "It is 2026-11-28T02:24:08.2Z", "at 2026-11-26T21:23:51.9Z", "at 2026-11-28T02:24:08.2Z"),
    Pair("a time after an escape", r"x\n2026-11-26T21:23:51Z\n", r"x\n2026-11-28T02:24:08Z\n", "2026-11-26T21:23:51Z", "2026-11-28T02:24:08Z"),
    Pair("tomorrow", "Today is 2026-11-26.", "Today is 2026-11-28.", "Due 2026-11-27.", Cause.COMPUTED),
    Pair("a weekday", "Today is 2026-11-26.", "Today is 2026-11-28.", "It is Thursday.", Cause.COMPUTED),
    Pair("a weekday that the prompt names too", "Open on Thursday. Today is 2026-11-26.", "Open on Thursday. Today is 2026-11-28.", "It is Thursday.", Cause.COMPUTED),
    Pair("another weekday that the prompt names", "Closed on Monday. Today is 2026-11-26.", "Closed on Monday. Today is 2026-11-28.", "Come on Monday.", "Come on Monday."),
    Pair("a month", "Today is 2026-11-26.", "Today is 2026-12-02.", "It is November.", Cause.COMPUTED),
    Pair("the same month", "In November: 2026-11-26.", "In November: 2026-11-28.", "It is November.", "It is November."),
    Pair("another way to write the date", "Today is 2026-11-26.", "Today is 2026-11-28.", "On November 26, 2026", Cause.COMPUTED),
    Pair("the date of a time", "It is 2026-11-26T21:23:51Z", "It is 2026-11-28T02:24:08Z", "on 2026-11-26", Cause.COMPUTED),
    Pair("the clock of a time", "It is 2026-11-26T21:23:51Z", "It is 2026-11-28T02:24:08Z", "at 21:23", Cause.COMPUTED),
    Pair("Unix time", "It is 2026-11-26T21:23:51Z", "It is 2026-11-28T02:24:08Z", "1795728231", Cause.COMPUTED),
    Pair("other forms in the requests", "Today is 2026-11-26.", "Today is 11/28/2026.", "2026-11-26", Cause.FORM),
    Pair("one recorded date becomes two", "2026-11-26 and 2026-11-26", "2026-11-28 and 2026-11-29", "on 2026-11-26", Cause.AMBIGUOUS),
    Pair("one becomes two, and the answer names neither", "2026-11-26 and 2026-11-26", "2026-11-28 and 2026-11-29", "done", "done"),
    Pair("two recorded dates become one", "2026-11-26 and 2026-11-25", "2026-11-28 and 2026-11-28", "2026-11-26", "2026-11-28"),
    Pair("words in a date", "Today is Thursday, November 26, 2026.", "Today is Saturday, November 28, 2026.", "Thursday, November 26, 2026 it is", "Saturday, November 28, 2026 it is"),
    Pair("as `date` prints it", "Thu Nov 26 21:24:38 UTC 2026", "Sat Nov 28 02:24:38 UTC 2026", "now Thu Nov 26 21:24:38 UTC 2026", "now Sat Nov 28 02:24:38 UTC 2026"),
    Pair("as `ls -l` prints it", "-rw-r--r-- 1 u u 5 Nov 26 21:24 a", "-rw-r--r-- 1 u u 5 Nov 28 02:24 a", "a is of Nov 26 21:24", "a is of Nov 28 02:24"),
    Pair("a month and a year", "The month is November 2026", "The month is December 2026", "News of November 2026", "News of December 2026"),
    Pair("a time that did not move", "Lunch at 12:30. Now 2026-11-26T21:23:51Z", "Lunch at 12:30. Now 2026-11-28T02:24:08Z", "Lunch is at 12:30.", "Lunch is at 12:30."),
    Pair("a model's date", "Today is 2026-11-26.", "Today is 2026-11-28.", "done", "done"),
    Pair("a date inside a number", "Today is 2026-11-26.", "Today is 2026-11-28.", "12026-11-265", Cause.TRACE),
]  # fmt: skip
NUMBERS = [
    Pair("a process", "PID: 28358", "PID: 31999", "kill 28358", "kill 31999"),
    Pair("a process in arguments", "PID: 28358", "PID: 31999", '{"pid": 28358}', '{"pid": 31999}', arguments=True),
    Pair("a process inside a number", "PID: 28358", "PID: 31999", "128358 files", "128358 files"),
    Pair("a short process", "PID: 42", "PID: 43", "PID: 42 runs", "PID: 43 runs"),
    Pair("a short process without its label", "PID: 42", "PID: 43", "the answer is 42", Cause.AMBIGUOUS),
    Pair("a process that the history repeats", "PID: 28358\nkill 28358", "PID: 31999\nkill 31999", "killed 28358", "killed 31999"),
    Pair("a process that the history does not repeat", "PID: 28358\nkill 28358", "PID: 31999\nkill 31998", "killed", MISS),
    Pair("a port", "on http://localhost:34567/x", "on http://localhost:45678/x", "curl localhost:34567", "curl localhost:45678"),
    Pair("a port elsewhere", "on http://example.org:3456/x", "on http://example.org:4567/x", "ok", MISS),
    Pair("a duration", "Duration: 1.25 seconds", "Duration: 1.31 seconds", "ok", "ok"),
    Pair("a duration in the answer", "took 1.25 s", "took 1.31 s", "It took 1.25 s", "It took 1.31 s"),
    Pair("a duration that is a number elsewhere", "took 1.25 s", "took 1.31 s", "x = 1.25", "x = 1.25"),
    Pair("a timeout", "wait 30 seconds", "wait 60 seconds", "ok", MISS),
]  # fmt: skip
SCRIPTS = [
    Pair("right to left", f"מזהה {A} כאן", f"מזהה {B} כאן", f"המזהה הוא {A}.", f"המזהה הוא {B}."),
    Pair("astral characters", f"😀{A}😀", f"😀{B}😀", f"👍{A}👍", f"👍{B}👍"),
    Pair("no spaces", "时间是2026-11-26。", "时间是2026-11-28。", "今天是2026-11-26。", "今天是2026-11-28。"),
    Pair("a folder with an umlaut", "in /home/zoë/p", "in /home/bob/q", "cd /home/zoë/p", "cd /home/bob/q", ("cwd=/home/zoë/p", "cwd=/home/bob/q")),
    Pair("an umlaut in escapes", "in /home/zoë/p", "in /home/bob/q", json.dumps({"cwd": "/home/zoë/p"}), json.dumps({"cwd": "/home/bob/q"}), ("cwd=/home/zoë/p", "cwd=/home/bob/q"), arguments=True),
    Pair("a name that an umlaut makes longer", "in /home/zo", "in /home/bob", "cd /home/zoë", Cause.TRACE, ("cwd=/home/zo", "cwd=/home/bob")),
    Pair("quotes in arguments", f"id {A}", f"id {B}", json.dumps({"q": f'say "{A}"\n{A}'}), json.dumps({"q": f'say "{B}"\n{B}'}), arguments=True),
    Pair("JSON in JSON", f"id {A}", f"id {B}", json.dumps({"q": json.dumps({"id": f"\n{A}"})}), json.dumps({"q": json.dumps({"id": f"\n{B}"})}), arguments=True),
    Pair("a text like a mark", "\0uuid 1\0", f"{A}", "ok", MISS),
    Pair("a text like what is shown of a mark", "<uuid 1>", f"{A}", "ok", MISS),
]  # fmt: skip
PAIRS = [*IDS, *PATHS, *TIMES, *NUMBERS, *SCRIPTS]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_an_answer_is_right_or_refused(pair: Pair) -> None:
    recorded, present = (
        template(chat(text), bindings)
        for text, bindings in zip((pair.recorded, pair.present), pair.bindings, strict=True)
    )
    outcome = carried(recorded, present, (called if pair.arguments else said)(pair.answer))
    match outcome:
        case Rebound(answer):
            assert text_of(answer) == pair.expected
        case Refusal(cause):
            assert cause is pair.expected
        case None:
            assert pair.expected is MISS
