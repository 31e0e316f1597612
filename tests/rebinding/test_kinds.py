"""What is a moving value, and what must never be one."""

from __future__ import annotations

import pytest

from computer_use_cache.rebinding.kinds import Kinds, have_one_form

UUID = "3f2b8c1e-9d4a-4c6b-8e7f-1a2b3c4d5e6f"

VALUES = {
    "uuid": [
        f"id «{UUID}»",
        f"run_«{UUID}»_log",
        f"«{UUID.upper()}»",
        f'{{"id":"«{UUID}»"}}',
    ],
    "tmp": [
        "in «/tmp/agent-Ab3dEf9h»/x",
        '"«/var/tmp/x.1»"',
        "«/private/tmp/claude-501»/y",
        "«/var/folders/ab/c1/T/tmp3fk2j1»",
        "«/tmp/pytest-of-anna/pytest-12/test_x0»/a",
        r"«C:\Users\anna\AppData\Local\Temp\tmpa1b2»\x",
        r"out\n«/tmp/tmp.k3J9x2Lq»\n",
        "«/tmp/playwright-mcp-output/1795791213012»/page.png",
        "«/tmp/build»/1795791213012x",
    ],
    "time": [
        "«2026-11-26T21:23:51.959711040Z»",
        "«2026-11-26 21:23:51.123456»",
        "«2026-11-26T21:23:51+01:00»",
        "«Thu, 26 Nov 2026 21:23:51 GMT»",
        "«Thu Nov 26 21:23:51 UTC 2026»",
        "«November 26, 2026 at 9:23 PM»",
        "5 «Nov 26 21:23» a.txt",
        "log-«20261126T212351Z»",
        "log-«2026-11-26_21-23-51».txt",
        "[Snapshot](.playwright-mcp/page-«2026-11-26T21-23-51-706Z».yml)",
        "[«21:23:51»] ready",
        "it is «9:23 PM»",
        "time: «21:23»",
        "«Thu 26 Nov 21:23:51 UTC 2026»",
        "shot_«20261126_212351».png",
        "session «20261126-212351»_4f2a9c",
        "Screenshot «2026-11-26 at 21.23.51».png",
        "/x/«1795791213012»-3.txt",
        "output-«1795791213».log",
        "Born at «21:23 on 26.11.2026»",
        "current time: «21:23:51»",
        "time=«9:23 PM»",
        "«21:23, Thursday, November 26, 2026»",
        "«9:23 PM 2026-11-26»",
        "now: «21:23»",
        "at «21:23 UTC»",
        '"timestamp": «1795728231»',
        "created_at=«1795728231.25»",
        r"ok\n«2026-11-26T21:23:51Z»",
    ],
    "date": [
        "Today is «2026-11-26».",
        "«11/26/2026»",
        "«26.11.2026»",
        "«Thursday, November 26, 2026»",
        "«26 November 2026»",
        "«Nov 26, 2026»",
        "«Thu Nov 26 2026»",
        "«Thursday, November 26»",
        "in «November 2026»",
    ],
    "id": [
        "«toolu_01A2b3C4d5E6f7G8h9»",
        "«call_a20966c07167aa8894b43840»",
        "run «01KB3MZ8Y7X6W5V4T3S2R1Q0PN» ended",
        "«chatcmpl-9a8b7c6d5e4f3g2h1»",
        "«ses_de63c6228ffeUF5W3yubJzqxhO»",
        'sessionId: "«abc123def456»"',
        r"\"thread_id\":\"«x1y2z3w4v5u6»\"",
        "Command running in background with ID: «b5a1c3f»",
        "agentId: «a3f9c21» (for resuming)",
        'task_id="«4f9a2c1b»"',
    ],
    "hex": ["trace «4bf92f3577b34da6a3ce929d0e0e4736»", "span «00f067aa0ba902b7»", "«4BF92F3577B34DA6»"],
    "pid": [
        *("PID: «28358»", "PGID: «8728»", "pid=«7»", '"pid": «42»', "process «28358» ended", "[1] «28358»"),
        *(
            "process id: «28358»",
            "Process ID «28358»",
            "process «28358» has ended",
            "process «28358» exited with code 1",
        ),
        *("in background process «28358»", "Killed process «28358» (node)", r"process «28358» started\n"),
    ],
    "port": [
        *("http://localhost:«34567»/", "127.0.0.1:«8080»", "[::1]:«45678»"),
        *("Server listening on port «45123»", "now running at port: «45123».", "Serving on port «50001»"),
    ],
    "duration": [
        "Wall time: «0.1» seconds",
        "took «12» ms",
        "1 passed in «0.03»s",
        "Duration: «1.25»s",
        "real\t«0m0.003s»",
        "Execution time: «0.0123»s",
        '{"exit_code":0,"duration_ms":«12»}',
        '"durationMs": «123»',
        r"\"elapsed_seconds\": «0.013»",
        '"wall_time": «1.25»',
        "completed after «123» ms",
        "ok 1 - adds («3» ms)",
        "Wall time: «12» seconds",
        "1 failed, 2 warnings in «0.12»s",
        "Ran 5 tests in «0.001»s",
        "Finished `dev` profile [unoptimized] target(s) in «0.03»s",
        "✓ built in «1.23»s",
        "--- PASS: TestAdd («0.02»s)",
        "PASS src/a.test.js («5.1» s)",
        "1 row in set («0.01» sec)",
        r"tests\n✓ adds («3» ms)\n",
        "added 57 packages, and audited 58 packages in «3»s",
        "up to date in «640»ms",
        "Resolved 5 packages in «12»ms",
        "Installed 3 packages in «1.20»s",
        "ok  \texample.org/a/b-c\t«0.005»s",
        r"x\nok  \texample.org/a\t«0.005»s\n",
        "FAIL\texample.org/a\t«0.120»s",
        "Tests: 2 passed\nTime:        «0.452» s, estimated 1 s",
        "[INFO] Total time:  «1.234» s",
        "BUILD SUCCESSFUL in «3s»",
        "BUILD FAILED in «1m 3s»",
    ],
    "kernel": ["Linux «6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC @0» x86_64", "Linux box «6.8.1 #2 SMP» aarch64 GNU/Linux"],
    "commit": [
        "git hash: «38bda9f»",
        "[main «38bda9f»] Begin",
        "[main (root-commit) «38bda9f»] Begin",
        "HEAD is now at «38bda9f»",
        "[JIRA-12/fix «38bda9f»] Begin",
        r"ok\n[feature/a.b-c «38bda9f12»] Begin",
    ],
}
NEVER = [
    "HEAD 38bda9f8a7e75a3912f308a4159d45dce8992d43",
    "38bda9f Begin",
    "index 83db48f..bf2a9c1 100644",
    "commit 4bf92f3577b34da6a3ce929d0e0e4736",
    "sha256:4bf92f3577b34da6a3ce929d0e0e47364bf92f3577b34da6a3ce929d0e0e4736",
    "hash: 4bf92f3577b34da6a3ce929d0e0e4736",
    '"content_hash": "4bf92f3577b34da6a3ce929d0e0e4736"',
    'ETag: "4bf92f3577b34da6"',
    "48656c6c6f20776f726c6421",
    '"integrity": "sha512-4bf92f3577b34da6a3ce929d0e0e4736"',
    "It costs $12.50, or 12,50 €",
    "1234 files, 99 lines, 7 %",
    "card 1234567812345678",
    "node 20.11.1, python 3.12, v1.2.3",
    "aspect 16:9, ratio 3:2",
    "00:1a:2b:3c:4d:5e",
    "wait 30 seconds",
    "head -20, chmod 0644",
    "test_Http2ServerShouldNot5",
    "task_implementation_of_everything",
    "deadbeefdeadbeefdead",
    "claude-sonnet-4-5, gpt-4.1-mini",
    "web_search_20250305",
    "/srv/tmp/agent-a1b2c3, ./tmp/x1, ~/tmp/y2",
    "https://example.org:3456/x",
    "the project, May I?",
    "a bug of Linux 5.15.0",
    "line 28358, column 7",
    "1795728231 is prime",
    "1795728231012 is prime, 4006381333931 a barcode",
    "a video of duration: 30, for 25 minutes (5 of 7)",
    "transition-duration: 0.25s",
    "the ride (5 minutes), the break (30 s)",
    "it is 21:23 on the ticket",
    "20261126_2123519_0123",
    "fade in 0.3s, then fade out in 0.5 seconds",
    "Duration: 30 seconds. Total time: 90 minutes. It took 5 minutes.",
    "process 3 invoices, Process 350 finished orders",
    "In March 1500 units were sold",
    "task id: sprint3, run id: q3report, session id: step-2, agent_id: 2024plan, job id: 1234567",
    "listening on port 8080, running on port 27017, started on port 70000, open port 45123",
    "A (83.2 s), B (84.1 s)",
    "ship 57 boxes in 3s. Time: 30 s. Total time: 3 s. ok, build it in 3s",
    "[ERROR 80070005] Access is denied.",
    "[Error 80070005] Access is denied.",
    "[ERROR 8007000E] Out of memory.",
    "[error 8007000e] Out of memory.",
    "[build deadbeef] passed",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in VALUES.items() for text in texts])
def test_a_value_of_each_kind_is_found(kind: str, text: str) -> None:
    before, value, after = text.replace("»", "«").split("«")
    plain = before + value + after
    found = [(kind.name, plain.encode()[start:end].decode()) for start, end, kind in Kinds().find(plain.encode())]
    assert found == [(kind, value)]


@pytest.mark.parametrize("text", NEVER)
def test_what_is_the_question_itself_is_never_a_value(text: str) -> None:
    assert list(Kinds().find(text.encode())) == []


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("2026-11-26", "2025-01-02", True),
        ("2026-11-26", "11/26/2026", False),
        ("Thu Nov 26 2026", "Sat Nov 28 2026", True),
        ("Thursday, November 26", "Saturday, May 2", True),
        ("Thu Nov 26", "Sat May 2", True),
        ("Thu Nov 26", "Saturday, May 2", False),
        ("9:23 PM", "11:04 AM", True),
        ("21:23:51.9Z", "02:24:08.25Z", True),
        ("21:23:51", "02:24", False),
    ],
)
def test_the_form_of_a_time_is_what_its_figures_stand_in(one: str, other: str, is_one: bool) -> None:
    assert have_one_form(one, other) is is_one


def test_text_that_invites_backtracking_takes_linear_time() -> None:
    text = (b"/tmp/" + b"a-" * 50 + b"! ") * 2000 + b"2026-11-" * 20000 + b"[" * 100_000
    assert all(kind.name in ("tmp", "date") for _, _, kind in Kinds().find(text))
