"""The variables of a program that runs behind a private proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from computer_use_cache.launch.environment import Trust, base_urls, proxied


@pytest.mark.parametrize(("given", "sent"), [({}, "0"), ({"CLAUDE_CODE_ATTRIBUTION_HEADER": "1"}, "1")])
def test_claude_code_leaves_its_hash_out_unless_the_user_set_it(given: dict[str, str], sent: str) -> None:
    trust = Trust(Path("authority.pem"), Path("bundle.pem"))
    assert proxied(8080, trust, given)["CLAUDE_CODE_ATTRIBUTION_HEADER"] == sent


def test_base_urls_of_openais_kind_end_with_a_version_and_the_others_do_not() -> None:
    assert base_urls("http://127.0.0.1:8000") == {
        "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1",
        "OPENAI_API_BASE": "http://127.0.0.1:8000/v1",
        "OPENROUTER_BASE_URL": "http://127.0.0.1:8000/v1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:8000",
    }
