"""A real part that is missing skips a test on a laptop and fails it in continuous integration."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.parts import STEADY_CHROMIUM, require

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


@pytest.mark.parametrize(("family", "refused"), [("AF_NETLINK", True), ("AF_INET", False)])
def test_what_becomes_chromium_cannot_hear_of_networks(family: str, refused: bool) -> None:
    lines = [
        "import socket, steady_chromium as it",
        "it.forbid_netlink(it.SOCKET[it.platform.machine()])",
        f"socket.socket(socket.{family}, socket.SOCK_DGRAM)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=STEADY_CHROMIUM.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("Address family not supported" in done.stderr) == refused
    assert bool(done.returncode) == refused
