"""A real part that is missing skips a test on a laptop and fails it in continuous integration."""

from __future__ import annotations

import pytest

from tests.parts import require

NOWHERE = "no-such-program-anywhere"


def test_a_present_program_is_found() -> None:
    assert require("sh").endswith("/sh")


def test_a_missing_program_skips_with_the_reason_outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{NOWHERE} is missing: Debian: apt-get install"):
        require(NOWHERE)


def test_a_missing_program_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"{NOWHERE} is missing: fetch it"):
        require(NOWHERE, "fetch it")
