"""The kinds of values that move from run to run and can be recognised by their form or their label.

A commit hash, a price, a count or a file's text is the question itself. Numbered kinds keep which of their values are
equal (`<uuid 1>`, `<uuid 2>`), so they map one to one. Values of the others may repeat by chance (two dates, two
durations) and map occurrence by occurrence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import re2

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
WEEKDAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d{2}"
DATE = (
    rf"(?:(?:{WEEKDAY}\.?,?\s+)?(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{4}}/\d{{1,2}}/\d{{1,2}}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}"
    rf"|{DAY}(?: of)?[\s-]{MONTH}\.?,?[\s-]{_YEAR}|{MONTH}\.?\s+{DAY},?\s+{_YEAR})"
    rf"|{WEEKDAY}\.?,?\s+(?:{MONTH}\.?\s+{DAY}|{DAY}(?: of)?\s+{MONTH})|{MONTH}\s+{_YEAR})"
)
CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:\s?[AP]M\b)?"
ZONE = r"(?:\s?(?:Z|UTC|GMT)\b|\s?[+-]\d{2}:?\d{2}\b)?"
TIME = (
    rf"{WEEKDAY}\s+(?:{MONTH}\s+{DAY}|{DAY}\s+{MONTH}(?:\s+\d{{4}})?)\s+{CLOCK}{ZONE}(?:\s+[A-Z]{{3,4}})?(?:\s+\d{{4}}\b)?"
    rf"|{DATE}(?:T|,?\s+(?:at\s+)?){CLOCK}{ZONE}"  # ISO 8601, RFC 9110, and as people write it
    rf"|{CLOCK}{ZONE},?\s+(?:on\s+)?{DATE}"
    rf"|{MONTH}\s+\d{{1,2}}\s+\d{{2}}:\d{{2}}(?::\d{{2}})?"  # as `ls -l` and syslog print it
    r"|20\d{6}[T_-]?\d{6}Z?\b"  # as file names have it
    r"|20\d{2}-\d{2}-\d{2}[T_-]\d{2}-\d{2}-\d{2}(?:-\d{3}Z\b)?|20\d{2}-\d{2}-\d{2} at \d{1,2}\.\d{2}\.\d{2}"
    r"|\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:\s?[AP]M\b)?|\d{1,2}:\d{2}\s?(?:[AP]M|UTC|GMT|Z)\b"
)
_EPOCH = r"(?:1[5-9]|2[01])\d{8}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?"
_TMP = (
    r"(?i:(?:/private)?(?:/var)?/tmp/|(?:/private)?/var/folders/[^/\s\x00]+/[^/\s\x00]+/[TC0]/"
    r"|[A-Z]:(?:\\+|/)Users(?:\\+|/)[^\\/\r\n\x00]+(?:\\+|/)AppData(?:\\+|/)Local(?:\\+|/)Temp(?:\\+|/))"
    r"(?:pytest-of-[\w.-]+/pytest-\d+/)?[\w.+@%=~-]*\w"
    r"(?:(?:\\+|/)\d{10,19}\b)?"  # a folder named by the time, as playwright-mcp has it
)
_TOOK = (
    r"(?:^|[^\w.-]|\\[nrt])(?:(?:wall|execution|exec|total|elapsed)[ _-]?time|duration|took|elapsed"  # no CSS property
    r"|(?:finished|completed|done|ran|succeeded|failed|passed|exited) (?:in|after|for))"
)
_BELOW_SECONDS = r"(?:ns|µs|us|ms|millis(?:econds)?)"
_SECONDS = r"(?:s|secs?|seconds?)"
UNIT = rf"(?:{_BELOW_SECONDS}|{_SECONDS})"
_RESULT = (
    r"(?:passed|failed|skipped|deselected|xfailed|xpassed|compiled|installed|downloaded|fetched|generated|processed"
    r"|started|checked|formatted|resolved|prepared|audited|indexed|loaded|rendered|bundled|built|ready|successfully"
    r"|errors?|warnings?|tests?|packages?|crates?|target\(s\))"
)
"""What a tool says it has done. A person says how long something shall take in other words: `fade in 0.3s`."""
_ID_LABEL = (
    r"(?i:\b(?:session|request|thread|turn|trace|span|run|task|conversation|window|message|agent|execution"
    r"|invocation|job|correlation|instance|container|installation)[ _-]?id)"
)
_SEPARATOR = r"""["'\\]{0,4}\s?[:=>]?\s?["'\\]{0,4}"""
_LINE = r"(?:(?m:^)|\\[nrt])\s*"
_TEST = rf"{_LINE}(?:(?:not )?ok\b|pass\b|fail\b|--- |[^\x00-\x7f]{{2,4}} )"
"""How the line of a test's result begins."""
_PROCESS_ENDS = (
    r"(?:(?:is|has|was)\b|(?:ended|exited|finished|started|stopped|terminated|killed|died|crashed)"
    r"(?: with\b| by\b| due\b|[^\w\s]|\s*(?m:$)))"
)
"""What is said of a process: `Process 350 finished orders` is about orders."""
_SERVICES = frozenset(
    ("1433", "1521", "3306", "5432", "5672", "6379", "9092", "9200", "11211", "27017")  # databases, caches and queues
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of moving value.

    `numbered` values map one to one, the others occurrence by occurrence. A value of a `labelled` kind is recognised by
    the words around it, and then found elsewhere too if it is long enough to be distinctive. A value of a `placed` kind
    only means something beside such words: an answer that has it elsewhere is refused.
    """

    name: str
    patterns: tuple[str, ...] = ()
    numbered: bool = False
    labelled: bool = False
    placed: bool = False
    ignore_case: bool = False
    is_value: Callable[[str], bool] | None = bool
    """None: it never is, and no part of it is a value either."""

    def is_telling(self, text: str) -> bool:
        """Whether a value is recognisable without its label; a round number or a year may mean just that."""
        may_mean_itself = len(text) < 4 or (len(text) == 4 and re.fullmatch(r"(?:19|20)\d\d|\d{3}0", text))
        return not self.placed and (self.numbered or (self.labelled and not may_mean_itself))


def _is_random(text: str) -> bool:
    """Whether letters and digits are mixed as in no name, number or word."""
    return len(re.findall(r"\d+", text)) >= 3


def _has_figures(text: str) -> bool:
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def _alternates(text: str) -> bool:
    """Whether letters and digits alternate as in no name that someone chose: `sprint3`, `q3report`."""
    return len(re.findall(r"\d+|[A-Za-z]+", text)) >= 4


def _is_ephemeral(port: str) -> bool:
    """Whether a system gives out this port by itself; a lower one is somebody's choice."""
    return 32768 <= int(port) < 65536


def _is_commit(text: str) -> bool:
    """Whether hex digits in brackets may be a commit: `[error 8007000e]` is a status of Windows."""
    return _has_figures(text) and re.fullmatch("[8c][0-9a-f]{7}", text) is None


def _is_hex_id(text: str) -> bool:
    """Whether hex digits are an id. Forty of them name a commit or another of Git's objects, sixty are a line of what
    `xxd -p` prints, and text in hex is content."""
    is_mixed = not text.isdigit() and not text.isalpha() and text in (text.lower(), text.upper())
    return is_mixed and len(text) not in (40, 60) and not _is_text_in_hex(text)


def _is_text_in_hex(text: str) -> bool:
    try:
        decoded = bytes.fromhex(text).decode()
    except ValueError:
        return False
    return all(character.isprintable() or character.isspace() for character in decoded)


def _is_no_service(port: str) -> bool:
    """Whether a port is not one by which a service is known, whatever host it is on."""
    return port not in _SERVICES


_BUILT_IN = (
    Kind("content", (
        r"(?:\b|_)(?:sha-?\d*|md5|digest|checksum|hash|fingerprint|etag|integrity|commit|tree|blob|parent)"
        r"""["'`*\\]{0,4}\s?(?:[:=>]|is|was)?\s?["'`*\\]{0,4}[-:]?([0-9a-f]{16,128})\b""",
        r"\b([0-9a-f]{2}(?::[0-9a-f]{2}){3,})\b",
    ), ignore_case=True, is_value=None),
    Kind("uuid", (r"(?:\b|_)([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:\b|_)",), numbered=True,
         ignore_case=True),
    Kind("tmp", (rf"(?:^|[^\w.~-]|\\[nrt])({_TMP})",), numbered=True),
    Kind("time", (
        rf"(?:\b|_|\\[nrt])({TIME})",
        rf"(?i:time(?:stamp)?|date|epoch|unix|_at|_ms|_ts|now|since|until){_SEPARATOR}({_EPOCH})\b",
        r"(?:\b|_)(20\d{6}[T_-]\d{6}(?:\d{3}){0,2}Z?)(?:\b|_)",  # in the name of a file
        r"[/_.-](1[6-9]\d{11})\b",
        r"[/_-](1[6-9]\d{8})\.\w",
        rf"(?i:\b(?:time|now)(?: is)?){_SEPARATOR}({CLOCK}{ZONE})\b",
    )),
    Kind("date", (rf"(?:\b|\\[nrt])({DATE})\b",)),
    Kind("id", (
        r"\b((?:call|toolu|chatcmpl|chatcmpl-tool|fc|rs|msg|resp|req|ses|prt)[_-][0-9A-Za-z]{12,64})\b",
        rf"{_ID_LABEL}{_SEPARATOR}([0-9A-Za-z_-]{{10,64}})\b",
    ), numbered=True, is_value=_has_figures),
    Kind("id", (rf"(?:{_ID_LABEL}|(?i:\bbackground with id)){_SEPARATOR}([0-9A-Za-z]{{6,9}})\b",), numbered=True,
         is_value=_alternates),
    Kind("id", (r"\b([a-z]{2,12}[_-][0-9A-Za-z]{16,64})\b", r"\b(0[0-9A-HJKMNP-TV-Z]{25})\b"), numbered=True,
         is_value=_is_random),
    Kind("hex", (r"\b([0-9a-fA-F]{16,128})\b",), numbered=True, is_value=_is_hex_id),
    Kind("pid", (
        rf"\b(?:p?pid|pgid|process(?: group)?[ _-]?id){_SEPARATOR}(\d{{1,7}})\b",
        rf"\bprocess (\d{{3,7}}) {_PROCESS_ENDS}",
        r"\b(?:background|started|stopped|killed|terminated|launched|spawned) process (\d{3,7})\b",
        r"(?m:^)\[\d+\] (\d{3,7})(?m:$)",
    ), labelled=True, ignore_case=True),
    Kind("port", (rf"\b(?:listening|running|serving|started|available) (?:on|at) port{_SEPARATOR}(\d{{5}})\b",),
         labelled=True, ignore_case=True, is_value=_is_ephemeral),
    Kind("port", (r"(?:\b(?:localhost|127\.0\.0\.1|0\.0\.0\.0)|\[::1?\]):(\d{4,5})\b",), labelled=True,
         ignore_case=True, is_value=_is_no_service),
    Kind("duration", (  # a whole number of seconds or minutes is somebody's: a timeout, a length, a time to cook
        rf"{_TOOK}{_SEPARATOR}(\d+(?:\.\d+)?)\s?{_BELOW_SECONDS}\b",
        rf"{_TOOK}{_SEPARATOR}(\d+\.\d+)\s?{_SECONDS}\b",
        rf"\b(?:wall|execution|exec)[ _-]?time{_SEPARATOR}(\d+)\s?{_SECONDS}\b",
        rf"{_TOOK}_?(?:in_?)?{_BELOW_SECONDS}{_SEPARATOR}(\d+(?:\.\d+)?)\b",
        rf"{_TOOK}_?(?:in_?)?{_SECONDS}{_SEPARATOR}(\d+\.\d+)\b",
        rf"{_TOOK}{_SEPARATOR}(\d+\.\d{{2,}})\b",
        rf"\b{_RESULT} in (\d+\.\d+)\s?{UNIT}\b",
        rf"\b(?:passing|failing|passed|failed|ok|in set|affected) \((?:in )?(\d+\.\d+)\s?{UNIT}\)",
        rf"{_TEST}[^\n]{{0,200}}\((?:in )?(\d+\.\d+)\s?{UNIT}\)",
        rf"{_TEST}[^\n]{{0,200}}\((\d+)\s?ms\)",
        r"(?m:^)(?:real|user|sys)\s+(\d+m\d+\.\d+s)",
        rf"\b(?:\d+ packages?|up to date) in (\d+)\s?{UNIT}\b",  # npm, uv
        r"(?:(?m:^)|\\n)(?:ok  |FAIL)(?:\t|\\t)[\w./-]+(?:\t|\\t)(\d+\.\d+)s\b",  # go test
        rf"{_LINE}Time: {{4,}}(\d+(?:\.\d+)?)\s?m?s\b",  # Jest
        r"\bTotal time:  (\d+\.\d+) s\b",  # Maven
        r"\bBUILD (?:SUCCESSFUL|FAILED) in ((?:\d+m )?\d+s|\d+ms)\b",  # Gradle
    ), ignore_case=True),
    Kind("kernel", (
        r"\b(?:Linux|Darwin) (?:[\w.-]+ )?(\d+\.\d+\.\d+[\w.+~-]* #\d[^\n<>\x00]{0,120}) (?:x86_64|aarch64|arm64)\b",
    ), labelled=True),
    Kind("commit", (
        r"\bgit (?:commit )?hash" + _SEPARATOR + r"([0-9a-f]{7,40})\b",
        r"\bHEAD is now at ([0-9a-f]{7,12})\b",
    ), labelled=True, ignore_case=True),
    Kind("commit", (r"\[[\w./-]*[a-z][\w./-]*(?: \(root-commit\))? ([0-9a-f]{7,12})\] ",), labelled=True,
         is_value=_is_commit),
)  # fmt: skip
CALL = Kind("call", numbered=True)
"""The ids of calls and items, found in the places where the API holds them."""
LIMIT = Kind("limit", placed=True)
"""How long an answer may be (limits.py)."""
NORMALIZED = Kind("normalized", labelled=True)
"""What CACHE_NORMALIZE takes out of a request; the words around it are not known."""


class Kinds:
    """The kinds of one agent: those above, and the patterns of its profile."""

    def __init__(self, more: Iterable[Kind] = ()) -> None:
        every = (*more, *_BUILT_IN)
        self._by_name: Mapping[str, Kind] = {kind.name: kind for kind in (*every, CALL, LIMIT, NORMALIZED)}
        self._groups = [(kind, pattern) for kind in every for pattern in kind.patterns]

    @cached_property
    def _patterns(self) -> tuple[Any, re.Pattern[bytes]]:
        """A pattern that finds the values in linear time, and one that tells the kind and the bounds of what was found.

        RE2 spends most of its time on groups, so it is not asked for them.
        """
        every = "|".join(f"(?{'i' if kind.ignore_case else ''}:{pattern})" for kind, pattern in self._groups)
        return compiled(every, groups=False), re.compile(every.encode())

    def named(self, name: str) -> Kind:
        """The kind of that name; one without a pattern here (`tmp name`) is numbered."""
        return self._by_name.get(name) or Kind(name, numbered=True)

    def find(self, text: bytes) -> Iterator[tuple[int, int, Kind]]:
        """Where the values occur in UTF-8 text: start, end, kind; in order, none inside another."""
        return (found for found in self.scan(text) if found[2].is_value)

    def scan(self, text: bytes) -> Iterator[tuple[int, int, Kind]]:
        """Where the values occur, and what is known never to be one."""
        finder, teller = self._patterns
        at = 0
        while found := finder.search(text, at):
            at = found.end()
            told = teller.match(text, *found.span())
            if told is None or told.lastindex is None:
                continue
            start, end = told.span(told.lastindex)
            kind = self._groups[told.lastindex - 1][0]
            if kind.is_value is None or kind.is_value(text[start:end].decode("utf-8", "replace")):
                yield start, end, kind
            else:
                at = found.start() + 1  # it may hold a value of another kind


def compiled(pattern: str, encoding: str = "utf-8", *, groups: bool = True) -> Any:
    """A pattern of RE2, which takes linear time, over bytes. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = not groups
    options.max_mem = 256 << 20
    try:
        return re2.compile(pattern.encode(encoding), options)
    except re2.error as error:
        raise ValueError(error.args[0].decode("utf-8", "replace")) from None


_PARTS = re.compile(rf"(?i)\b(?:{MONTH}|{WEEKDAY}|[ap]m)\b|\d+")


def have_one_form(one: str, other: str) -> bool:
    """Whether two times or dates are written in the same way: they differ only in digits and names."""
    return any(_form(one, may) == _form(other, may) for may in ("short", "long"))


@lru_cache(maxsize=1024)  # the messages of a conversation repeat their times
def _form(text: str, may: str) -> str:
    """A time or date without its digits and names; `may` stands for May, whose short and full names are the same."""

    def part(found: re.Match[str]) -> str:
        name = found[0].lower()
        if name.isdigit():
            return "0"
        if name in ("am", "pm"):
            return "am"
        return may if name == "may" else "short" if len(name) == 3 else "long"

    return _PARTS.sub(part, text)
