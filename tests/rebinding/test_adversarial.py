"""Pairs of requests that are made to lead astray: each recorded answer is right for the present request, or refused.

A pair is written as one text, in which `«old|new»` stands for what differs. The answer is written in the same way: its
first reading is what was recorded, its second what is right for the present request.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from computer_use_cache.rebinding import Cause, Rebound, Refusal
from rebinding.conversations import called, carried, chat, said, template, text_of

MISS = None
"""The requests are different questions."""
RIGHT = "right"
AMBIGUOUS, COMPUTED, ESCAPES, FORM, NAMES, NOT_ONE_TO_ONE, ORDER, TRACE = (
    Cause.AMBIGUOUS,
    Cause.COMPUTED,
    Cause.ESCAPES,
    Cause.FORM,
    Cause.NAMES,
    Cause.NOT_ONE_TO_ONE,
    Cause.ORDER,
    Cause.TRACE,
)
A, B = "3f2b8c1e-9d4a-4c6b-8e7f-1a2b3c4d5e6f", "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
C, D = "0d9e8f7a-6b5c-4d3e-2f1a-b0c9d8e7f6a5", "7e6d5c4b-3a29-4180-9f8e-7d6c5b4a3928"
ID = f"«{A}|{B}»"
E, F, G = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7a1b2c3d4e5f60718", "9f86d081884c7d659a2feaa0c55ad015"
HEX = f"«{E}|{F}»"
TMP = "«/tmp/agent-Ab3dEf9h|/tmp/agent-Zx8yWv7u»"
CWD, HOME, USER = "«/home/anna/project|/home/hans/checkout/app»", "/home/«anna|hans»", "«anna|hans»"
WINDOWS = r"«C:\Users\anna\project|D:\ci\hans\app»"
HERE = f"cwd={CWD},home={HOME},user={USER}"
DAY, ISO = "Today is 2026-11-2«6|8».", "It is «2026-11-26T21:23:51.9Z|2026-11-28T02:24:08.2Z»."


@dataclass(frozen=True)
class Pair:
    name: str
    question: str
    answer: str
    outcome: str | Cause | None = RIGHT
    bindings: str = ""
    arguments: bool = False
    """Whether the answer is the arguments of a tool and not a text."""


IDS = [
    Pair("an id that moved", f"id {ID}", f"It is {ID}."),
    Pair("an id without a move", f"id {A}", f"It is {A}."),
    Pair("two ids", f"«{A}|{C}» and «{B}|{D}»", f"first «{A}|{C}», then «{B}|{D}»"),
    Pair("two ids swapped", f"«{A}|{B}» and «{B}|{A}»", f"first «{A}|{B}», then «{B}|{A}»"),
    Pair("two equal ids become two", f"«{A}|{C}» and «{A}|{D}»", "both", MISS),
    Pair("two ids become one", f"«{A}|{C}» and «{B}|{C}»", "they differ", MISS),
    Pair("one of two ids moved", f"{A} and «{B}|{D}»", f"«{B}|{D}», {A}"),
    Pair("an id in capitals is another text", f"id {ID}", f"It is {A.upper()}", TRACE),
    Pair("the beginning of an id", f"id {ID}", f"It is {A[:8]}…", TRACE),
    Pair("an id inside a longer word", f"id {ID}", f"x{A}y", TRACE),
    Pair("a hex id shortened", f"run: {HEX}", "docker logs 4bf92f3577b3", TRACE),
    Pair("a hex id shortened after an escape", f"run: {HEX}", r"a\n4bf92f3577b3\n", TRACE),
    Pair("a hex id shortened in capitals", f"run: {HEX}", "see 4BF92F35", TRACE),
    Pair("a word that an id begins with", "run /tmp/agent-«ANSWER22|Zx8yWv7u»", "the answer"),
    Pair("the last characters of a hex id", f"trace {HEX}", "trace …0e4736", TRACE),
    Pair("the beginning that two ids share", f"«{A}|{A[:8]}{B[8:]}»", f"It is {A[:8]}…"),
    Pair(
        "the beginning of a call's id",
        "«toolu_a20966c07167aa88|toolu_b31077d18278bb99»",
        "toolu_a20966c failed",
        TRACE,
    ),
    Pair("an id that only the answer has", f"id {ID}", f"new: {C}"),
    Pair("an id with underscores around it", f"run_{ID}_log", f"run_{ID}_log"),
    Pair("ids of other lengths", "«req_a1b2c3d4e5f6g7h8|req_z9y8x7w6v5u4t3s2r1q0»", "done"),
    Pair("ids of other makers", "«req_a1b2c3d4e5f6g7h8|ses_z9y8x7w6v5u4t3s2»", "see", FORM),
    Pair("a long hex id", f"trace {HEX}", f"see {HEX}"),
    Pair(
        "an id behind a label, and without it", "session id: «abc123def456|ghi789jkl012»", "«abc123def456|ghi789jkl012»"
    ),
    Pair("names with figures", "run test_Http«2Server|3Client»ShouldNot5", "ok", MISS),
    Pair("words in place of ids", "task_«implementation|documentation»_of_everything", "ok", MISS),
    Pair("the same word beside an id", f"uuid: {ID}", "What a uuid!"),
    Pair("the digest of a picture", f"sha256:{HEX}", "ok", MISS),
    Pair("a checksum of forty digits", f"sum {'0a' * 19}0«a|b»", "ok", MISS),
    Pair("a checksum that is as it should be", f"It must have sha256: {E}\n«{E}|{F}»  a.tgz", "It matches.", MISS),
    Pair("a checksum that becomes as it should be", f"Is it sha256: {E}?\n«{F}|{E}»  a.tgz", "It differs.", MISS),
    Pair("a checksum that is never as it should be", f"Is it sha256: {E}?\n«{F}|{G}»  a.tgz", "It differs."),
    Pair("a checksum in capitals", f"It must have MD5 `{E}`\nHash: «{E.upper()}|{F.upper()}»", "It matches.", MISS),
    Pair("a checksum in capitals without a label", f"md5={E}\n«{E.upper()}|{F.upper()}»", "It matches.", MISS),
    Pair("equal in another case", f"want {E}\ngot «{E.upper()}|{F.upper()}»", "It matches.", NOT_ONE_TO_ONE),
    Pair("a password's hash", f"Which password has the hash {HEX}?", "password", MISS),
    Pair("a fingerprint", f"The key's fingerprint is **{HEX}**", "ok", MISS),
    Pair("text in hex", "Decode «48656c6c6f20776f726c6421|476f6f64627965206d6f6f6e»", "Hello world!", MISS),
    Pair("a line of a dump", f"xxd -p:\n{E[:28]}«{E}|{F}»", "ok", MISS),
    Pair("a commit", "HEAD is 38bda9f8a7e75a3912f308a4159d45dce8992d4«3|4»", "ok", MISS),
    Pair("a short commit in a log", "«38bda9f|40f24e9» Begin", "ok", MISS),
    Pair("a commit that a tool reports", "[main «38bda9f|40f24e9»] Begin", "It is «38bda9f|40f24e9»."),
    Pair("the address of a network card", "link 00:11:22:33:44:«55|66»", "ok", MISS),
    Pair("prices", "It costs $1«2|3».50", "cheap", MISS),
    Pair("counts", "There are 123«4|5» files", "ok", MISS),
    Pair("a version", "node 20.11.«1|2»", "ok", MISS),
    Pair("a long number", "card 123456781234567«8|9»", "ok", MISS),
]
TEMPORARY = [
    Pair("a temporary folder", f"made {TMP}", f"echo > {TMP}/r.txt"),
    Pair("a prefix of another", "/tmp/run«1|7» and /tmp/run«12|34»", "rm /tmp/run«12|34» /tmp/run«1|7»"),
    Pair("a longer name that only the answer has", "/tmp/run-«a1b2c3|d4e5f6»", "/tmp/run-a1b2c3x", TRACE),
    Pair("the random name alone", f"made {TMP}", "in agent-«Ab3dEf9h|Zx8yWv7u»"),
    Pair("the random part alone", f"made {TMP}", "in Ab3dEf9h", TRACE),
    Pair("names that someone chose", "read /tmp/«invoices|orders».csv", "the invoices", NAMES),
    Pair("another type of file", "Read /tmp/report.«pdf|docx»", "pdftotext /tmp/report.pdf -", NAMES),
    Pair("another type of file of the same length", "Play /tmp/tune.mp«3|4»", "mpg123 /tmp/tune.mp3", NAMES),
    Pair("chosen names that begin and end alike", "Load /tmp/sales_«train|test».csv", "Loading", NAMES),
    Pair("a name that goes on", "Read /tmp/report«|-final».txt", "cat /tmp/report.txt", NAMES),
    Pair("chosen names with capitals", "Read /tmp/my«Invoices|Orders».csv", "Loading", NAMES),
    Pair("a generated name before a type", "/tmp/out-«k3J9xQ|Zw81hT».json", "cat /tmp/out-«k3J9xQ|Zw81hT».json"),
    Pair("a generated name without figures", "/tmp/tmp«kqjxwvzb|a1b2c3d4»", "cd /tmp/tmp«kqjxwvzb|a1b2c3d4»"),
    Pair("a number that grows longer", "/tmp/run-9«|1».log", "cat /tmp/run-9«|1».log"),
    Pair("the name where `ls` lists it", f"made {TMP}\nls: agent-«Ab3dEf9h|Zx8yWv7u»", TMP),
    Pair("another name where `ls` lists it", f"made {TMP}\nls: agent-«Ab3dEf9h|Aa1Bb2Cc»", TMP, MISS),
    Pair(
        "macOS",
        "/var/folders/«ab/c1/T/tmp3fk2j1|xy/z9/T/tmp8qw7e6»",
        "/var/folders/«ab/c1/T/tmp3fk2j1|xy/z9/T/tmp8qw7e6»/a",
    ),
    Pair("a path that only looks temporary", "see /srv/tmp/agent-«a1b2|c3d4»", "ok", MISS),
    Pair("a bound folder", "in /w/tmp/«a1b2c3|d4e5f6»", "/w/tmp/«a1b2c3|d4e5f6»/x", bindings="tmp=/w/tmp"),
    Pair(
        "the project below /tmp",
        "/tmp/w«1/project|2/app»",
        "/tmp/w«1/project|2/app»/x",
        bindings="cwd=/tmp/w«1/project|2/app»",
    ),
]
PLACES = [
    Pair("the project's folder", f"cwd: {CWD}", f"cd {CWD}/src", bindings=HERE),
    Pair("the home beside it", f"{CWD} and {HOME}", f"{HOME}/.bashrc", bindings=HERE),
    Pair("a neighbour of the folder", f"cwd: {CWD}", f"ls {HOME}/project-old", bindings=HERE),
    Pair("a folder that goes on with a dot", f"cwd: {CWD}", f"ls {HOME}/project.bak", bindings=HERE),
    Pair("the end of a sentence", f"In {CWD}.", f"It is {CWD}.", bindings=HERE),
    Pair("the folder's name as a word", f"the project in {CWD}", "The project is done.", bindings=HERE),
    Pair(
        "the folder's name in a path of the home",
        f"{HOME}/.x/«project|app»/a",
        f"{HOME}/.x/«project|app»/b",
        bindings=HERE,
    ),
    Pair(
        "dashes for slashes",
        "~/.x/-home-«anna-project|hans-checkout-app»/a",
        "-home-«anna-project|hans-checkout-app»",
        bindings=HERE,
    ),
    Pair("a tilde", "in ~/«project|checkout/app»", "cd ~/«project|checkout/app»/src", bindings=HERE),
    Pair("a file's URL", f"file://{CWD}/a", f"file://{CWD}/b", bindings=HERE),
    Pair("a newline of JSON before a path", rf'{{"out": "ok\n{CWD}\n"}}', CWD, bindings=HERE),
    Pair("the folder inside a URL's path", f"cwd {CWD}", "https://example.org/home/anna/project", TRACE, HERE),
    Pair("the folder when only the answer has it", "Hello", f"cd {CWD}", bindings=HERE),
    Pair(
        "the folder's name in the answer alone",
        "Initialise an npm project here",
        '{"name": "todo-app"}',
        TRACE,
        "cwd=/home/anna/«todo-app|chess-game»",
    ),
    Pair(
        "the folder's name in both requests",
        "in «/home/anna|/srv»/todo-app",
        "todo-app is done",
        bindings="cwd=«/home/anna|/srv»/todo-app",
    ),
    Pair(
        "a folder that is the home no more",
        "Hello",
        "cat /home/anna/.x",
        AMBIGUOUS,
        "cwd=/«home/anna|srv/app»,home=/home/anna",
    ),
    Pair(
        "a folder that is the home in both runs",
        "Hello",
        "cat /«root|home/anna»/.x",
        bindings="cwd=/«root|home/anna»,home=/«root|home/anna»",
    ),
    Pair("the user's name as a word", f"{USER} says hi", "ok", MISS, HERE),
    Pair("the user behind a label", f"User: {USER}", "ok", bindings=HERE),
    Pair("the user's name in the answer alone", f"User: {USER}", "Hello anna!", TRACE, HERE),
    Pair("the user's name in both requests", f"User: {USER}. Boss: anna", "Hello anna!", bindings=HERE),
    Pair("the way up to the home", "see ../«|../».agent/memory.md", "cat ../«|../».agent/x", bindings=HERE),
    Pair("the way up to anything else", "see ../«|../»docs", "ok", MISS, HERE),
    Pair("Windows", f"in {WINDOWS}", f"cd {WINDOWS}\\src", bindings=f"cwd={WINDOWS}"),
    Pair(
        "Windows with slashes",
        "«C:/Users/anna/project|D:/ci/hans/app»",
        "«C:/Users/anna/project|D:/ci/hans/app»/x",
        bindings=f"cwd={WINDOWS}",
    ),
    Pair(
        "Windows in arguments",
        f"in {WINDOWS}",
        json.dumps({"cwd": WINDOWS}, ensure_ascii=False),
        bindings=f"cwd={WINDOWS}",
        arguments=True,
    ),
    Pair("from Linux to Windows", r"cwd: «/home/anna|D:\ci»", "/home/anna", ESCAPES, r"cwd=«/home/anna|D:\ci»"),
]
TIMES = [
    Pair("a date", DAY, "On 2026-11-2«6|8» I ran it."),
    Pair("a time", ISO, "at «2026-11-26T21:23:51.9Z|2026-11-28T02:24:08.2Z»"),
    Pair("a time after an escape", r"x\n2026-11-2«6T21|8T02»:23:51Z\n", "2026-11-2«6T21|8T02»:23:51Z"),
    Pair("the day of the month", DAY, "since November 26", COMPUTED),
    Pair("the day of the month, in words that did not move", f"In November. {DAY}", "November 26", COMPUTED),
    Pair("day and month in figures", DAY, "on 11/26", COMPUTED),
    Pair("day and month in the other order", DAY, "am 26.11.", COMPUTED),
    Pair("an ordinal", DAY, "on the 26th", COMPUTED),
    Pair("a fraction", DAY, "1/2 of 3.11"),
    Pair("the year", "Today is 202«6|7»-11-26.", "in 2026", COMPUTED),
    Pair("another year", DAY, "since 1999"),
    Pair("days ago", DAY, "3 days ago", COMPUTED),
    Pair("the word tomorrow", DAY, "See you tomorrow.", COMPUTED),
    Pair("the clock in twelve hours", ISO, "at 9:23", COMPUTED),
    Pair("the date of Unix time", "now: 17957«28231|94231»", "on 2026-11-26", COMPUTED),
    Pair("a date that follows from today's", DAY, "Due 2026-11-27.", COMPUTED),
    Pair("a weekday", DAY, "It is Thursday.", COMPUTED),
    Pair("a weekday that the prompt names too", f"Open on Thursday. {DAY}", "It is Thursday.", COMPUTED),
    Pair("another weekday that the prompt names", f"Closed on Monday. {DAY}", "Come on Monday."),
    Pair("a month", "Today is 2026-1«1-26|2-02».", "It is November.", COMPUTED),
    Pair("the same month", f"In November: {DAY}", "It is November."),
    Pair("another way to write the date", DAY, "On November 26, 2026", COMPUTED),
    Pair("the date of a time", ISO, "on 2026-11-26", COMPUTED),
    Pair("the clock of a time", ISO, "at 21:23", COMPUTED),
    Pair("Unix time", ISO, "1795728231", COMPUTED),
    Pair("other forms in the requests", "Today is «2026-11-26|11/28/2026».", "2026-11-26", FORM),
    Pair("one recorded date becomes two", "2026-11-2«6|8» and 2026-11-2«6|9»", "on 2026-11-26", AMBIGUOUS),
    Pair("one becomes two, and the answer names neither", "2026-11-2«6|8» and 2026-11-2«6|9»", "done"),
    Pair("two recorded dates become one", "2026-11-2«6|8» and 2026-11-2«5|8»", "2026-11-2«6|8»"),
    Pair(
        "words in a date",
        "«Thursday, November 26|Saturday, November 28», 2026",
        "«Thursday, November 26|Saturday, November 28», 2026",
    ),
    Pair(
        "as `date` prints it",
        "«Thu Nov 26 21|Sat Nov 28 02»:24:38 UTC 2026",
        "«Thu Nov 26 21|Sat Nov 28 02»:24:38 UTC 2026",
    ),
    Pair("as `ls -l` prints it", "-rw-r--r-- 1 u u 5 Nov 2«6 21|8 02»:24 a", "a is of Nov 2«6 21|8 02»:24"),
    Pair("a month and a year", "It is «November|December» 2026", "News of «November|December» 2026"),
    Pair("a time that did not move", f"Lunch at 12:30. {ISO}", "Lunch is at 12:30."),
    Pair("a date inside a number", DAY, "12026-11-265", TRACE),
]
SPELLINGS = (
    "2026-11-2«6|8»",
    "11/2«6|8»/2026",
    "2«6|8».11.2026",
    "2«6|8»/11/2026",
    "November 2«6|8», 2026",
    "2«6|8» Nov 2026",
    "«Thursday|Saturday», November 2«6|8»",
    "«Thu|Sat» Nov 2«6 21|8 02»:24:38 UTC 2026",
    "Nov 2«6 21|8 02»:24",
    "2«6|8».11.2026, «21:23|02:24»",
)
OUTDATED = ("since November 26", "Reminder set for 11/26.", "am 26.11. und", "on the 26th", "26/11")
READINGS = [
    Pair("a date that is read either way", "Today is «12/11|11/12»/2026.", "on the 12th", COMPUTED),
    Pair("a date that is read the other way", "Today is «11/12|12/11»/2026.", "on the 12th", COMPUTED),
    Pair("a month without a day", "It is «November|December» 2026.", "in Nov", COMPUTED),
    Pair("a day without a year beside a fraction", "«Thu|Sat», Nov 2«6|8»", "1/2 of 3.11"),
    *(
        Pair(f"{answer} of {spelling}", f"Today is {spelling}.", answer, COMPUTED)
        for spelling in SPELLINGS
        for answer in OUTDATED
    ),
]
LICENCE = "Licence valid until 2026-11-27."
CLOCK = "It is 2026-11-26T2«1:23:51|2:31:07»Z."
FOLLOWING = [
    Pair("the days until a date", f"{DAY} Deadline 2026-11-30.", "4 days until the deadline", COMPUTED),
    Pair("an amount in words", f"{DAY} Deadline 2026-12-10.", "That leaves two weeks.", COMPUTED),
    Pair("an amount that the prompt names", f"Keep it for 30 days. {DAY}", "kept for 30 days"),
    Pair("an hour that a tool waits", DAY, "It takes 4 hours."),
    Pair("figures in arguments", f"{DAY} Remind me", '{"month":11,"day":26}', COMPUTED, arguments=True),
    Pair("figures as texts in arguments", f"{DAY} Remind me", '{"startDay": "26"}', COMPUTED, arguments=True),
    Pair("figures in arguments in JSON", f"{DAY} Remind me", r'{"a": "{\"day\": 26}"}', COMPUTED, arguments=True),
    Pair("tomorrow's figures in arguments", f"{DAY} Remind me", '{"day": 27}', COMPUTED, arguments=True),
    Pair("the hour in arguments", ISO, '{"hour": 21}', COMPUTED, arguments=True),
    Pair("figures of a date in the prompt", f"{DAY} Due 2026-12-24", '{"month": 12, "day": 24}', arguments=True),
    Pair("figures of something else", DAY, '{"timeout": 26, "days": 26}', arguments=True),
    Pair("figures in code", DAY, "datetime(2026, 11, 26)", COMPUTED),
    Pair("named figures in code", DAY, "now.replace(day=26)", COMPUTED),
    Pair("a date that has passed", f"{DAY} {LICENCE}", "Yes.", ORDER),
    Pair("a date that comes", f"{DAY} {LICENCE[:-3]}30.", "Yes."),
    Pair("a date that came before", f"{DAY} {LICENCE[:-3]}20.", "No."),
    Pair("the day itself", f"Today is 2026-11-2«6|7». {LICENCE}", "Yes."),
    Pair("a date that has passed, as Americans write it", "It is 11/2«6|8»/2026, due 11/27/2026.", "Yes.", ORDER),
    Pair("a date that has passed by the clock", f"{ISO} {LICENCE}", "Yes.", ORDER),
    Pair("a time that has passed", f"{CLOCK} Due at 2026-11-26T22:00:00Z.", "Not yet.", ORDER),
    Pair("a time in another zone", f"{CLOCK} Due at 2026-11-26T22:00:00+05:00.", "Not yet."),
    Pair("dates that change places", "from 2026-11-2«6|9» to 2026-11-2«7|8»", "ok", ORDER),
    Pair("lines of a log within a minute", "2026-11-26T21:23:0«1|9»Z a\n2026-11-26T21:23:0«2|5»Z b", "ok"),
]
NUMBERS = [
    Pair("a process", "PID: «28358|31999»", "kill «28358|31999»"),
    Pair("a process in arguments", "PID: «28358|31999»", '{"pid": «28358|31999»}', arguments=True),
    Pair("a process inside a number", "PID: «28358|31999»", "128358 files"),
    Pair("a short process", "PID: 4«2|3»", "PID: 4«2|3» runs"),
    Pair("a short process without its label", "PID: 4«2|3»", "the answer is 42", AMBIGUOUS),
    Pair("a process that could be a year", "PID: «2024|2025»", "since 2024", AMBIGUOUS),
    Pair("a process that the history repeats", "PID: «28358|31999»\nkill «28358|31999»", "killed «28358|31999»"),
    Pair("a process that the history does not repeat", "PID: «28358|31999»\nkill «28358|31998»", "killed", MISS),
    Pair("a port", "on http://localhost:«34567|45678»/x", "curl localhost:«34567|45678»"),
    Pair("a port elsewhere", "on http://example.org:«3456|4567»/x", "ok", MISS),
    Pair("a port without a host", "listening on port «45123|50987»", "curl localhost:«45123|50987»"),
    Pair("a port that somebody chose", "listening on port 808«0|1»", "curl localhost:8080", MISS),
    Pair("a short id", "Running in background with ID: «b5a1c3f|c9d2e4a»", "I wait for «b5a1c3f|c9d2e4a»."),
    Pair("a name that somebody chose", "task id: «sprint3|sprint4»", "It is late.", MISS),
    Pair("the port of a service", "localhost:«5432|3306», list its tables", "psql -h localhost -p 5432", MISS),
    Pair("a port that is a service's in one run", "on 127.0.0.1:«6379|45678»", "redis-cli -p 6379", MISS),
    Pair("a service beside a port that moved", "127.0.0.1:«34567|45678»->localhost:3306", "curl localhost:3306"),
    Pair("a port attached to its option", "127.0.0.1:«34567|45678»->3306", "mysql -h127.0.0.1 -P34567", TRACE),
    Pair("a round port attached to its option", "on localhost:«8080|3000»", "docker run -p8080:80 x", TRACE),
    Pair("a duration", "Duration: 1.«25|31» seconds", "ok"),
    Pair("a duration in the answer", "took 1.«25|31» s", "It took 1.«25|31» s"),
    Pair("a duration that is a number elsewhere", "took 1.«25|31» s", "x = 1.25"),
    Pair("a timeout", "wait «3|6»0 seconds", "ok", MISS),
    Pair("how long a fade takes", "Make the modal fade in «0.3|0.8»s", "opacity 0.3s", MISS),
    Pair("how long a fade takes, behind a label", "Fade. Duration: «0.3|0.8» seconds", "opacity 0.3s", AMBIGUOUS),
    Pair("how long a text is", "Write a voice-over. Duration: «30|5» seconds", "Once upon", MISS),
    Pair("how long it may take", "Suggest a dinner. Total time: «30|90» minutes", "soup", MISS),
    Pair("how long it took somebody", "The ride took «30|90» minutes for 12 km", "24 km/h", MISS),
    Pair("how long an animation is, in JSON", '{"duration_seconds": «3|8»}', "ok", MISS),
    Pair("things to process", "Process «300|500» invoices", "All done.", MISS),
    Pair("finished things to process", "Process «300|500» finished orders", "All done.", MISS),
    Pair("what was sold in a month", "In March 1«2|5»00 units were sold, 300 came back", "25 %", MISS),
    Pair("times to compare", "Which is faster? A («83.2|85.0» s), B («84.1|82.0» s)", "A", MISS),
    Pair("two equal processes", "PID: «1234|5678», in the file: PID: «1234|5678»", "It is running."),
    Pair("two equal processes become two", "PID: 1234, now PID: «1234|5678»", "It is running.", NOT_ONE_TO_ONE),
    Pair("two processes become one", "PID: 1234, now PID: «5678|1234»", "It has died.", NOT_ONE_TO_ONE),
    Pair("two equal ports become two", "localhost:34567, localhost:«34567|45678»", "the same", NOT_ONE_TO_ONE),
    Pair("a status in brackets", "[ERROR 8007000«5|e»] It failed.", "access denied", MISS),
    Pair("a status in small letters", "[error 800700«0e|57»] It failed.", "out of memory", MISS),
    Pair("a word in brackets", "[build «deadbeef|cafecafe»] passed", "ok", MISS),
]
SCRIPTS = [
    Pair("right to left", f"מזהה {ID} כאן", f"המזהה הוא {ID}."),
    Pair("astral characters", f"😀{ID}😀", f"👍{ID}👍"),
    Pair("no spaces", "时间是2026-11-2«6|8»。", "今天是2026-11-2«6|8»。"),
    Pair("an umlaut", "in /home/«zoë/p|bob/q»", "cd /home/«zoë/p|bob/q»", bindings="cwd=/home/«zoë/p|bob/q»"),
    Pair(
        "an umlaut in escapes",
        "in /home/«zoë|bob»",
        '"/home/«zo\\u00eb|bob»"',
        bindings="cwd=/home/«zoë|bob»",
        arguments=True,
    ),
    Pair("a name that an umlaut makes longer", "in /home/«zo|bob»", "cd /home/zoë", TRACE, "cwd=/home/«zo|bob»"),
    Pair("quotes in arguments", f"id {ID}", json.dumps({"q": f'say "{ID}"\n{ID}'}, ensure_ascii=False), arguments=True),
    Pair("JSON in JSON", f"id {ID}", rf'{{"q": "{{\"id\": \"\\n{ID}\"}}"}}', arguments=True),
    Pair("a text like a mark", f"«\0uuid 1\0|{A}»", "ok", MISS),
    Pair("a text like what is shown of a mark", f"«<uuid 1>|{A}»", "ok", MISS),
]
PAIRS = [*IDS, *TEMPORARY, *PLACES, *TIMES, *READINGS, *FOLLOWING, *NUMBERS, *SCRIPTS]


def readings(text: str) -> tuple[str, str]:
    recorded, present = (re.sub("«([^|»]*)[|]([^»]*)»", rf"\g<{run}>", text) for run in (1, 2))
    return recorded, present


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_an_answer_is_right_or_refused(pair: Pair) -> None:
    runs = zip(readings(pair.question), readings(pair.bindings), strict=True)
    recorded, present = (template(chat(question), bindings) for question, bindings in runs)
    answer, expected = readings(pair.answer)
    outcome = carried(recorded, present, (called if pair.arguments else said)(answer))
    match outcome:
        case Rebound(rebound):
            assert (pair.outcome, text_of(rebound)) == (RIGHT, expected)
        case Refusal(cause):
            assert cause is pair.outcome
        case None:
            assert pair.outcome is MISS


def test_the_pairs_are_many() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) >= 100
