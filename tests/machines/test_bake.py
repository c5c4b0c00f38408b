"""What `images/ship/bake` refuses, and that a base which was cut off never counts as one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.machines.rig import BAKE
from tests.parts import missing


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        missing("root", "a machine's root is made by root alone")


def bake(tmp_path: Path, *words: object, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
    environment = os.environ | {"PATH": path, "TMPDIR": str(tmp_path)}
    return subprocess.run([BAKE, *map(str, words)], capture_output=True, text=True, env=environment, check=False)


def stand_in(tmp_path: Path, script: str) -> Path:
    """A directory with an mmdebstrap of the test's own."""
    directory = tmp_path / "programs"
    directory.mkdir()
    (directory / "mmdebstrap").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "mmdebstrap").chmod(0o755)
    return directory


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    path = tmp_path / "agent.tar.gz"
    path.write_bytes(b"")
    return path


def test_wrong_words_are_answered_with_the_right_ones(tmp_path: Path, agent: Path) -> None:
    for words in ((), ("--agent", agent), ("--agent", agent, "--here", "--tar", "x"), ("--what",), ("--tar",)):
        done = bake(tmp_path, *words)
        assert (done.returncode, "images/ship/bake --agent FILE" in done.stderr) == (2, True), words


def test_a_base_that_is_a_directory_is_told_and_left_alone(tmp_path: Path, agent: Path) -> None:
    (tmp_path / "base.tar").mkdir()
    done = bake(tmp_path, "--agent", agent, "--base", tmp_path / "base.tar", "--tar", tmp_path / "ship.tar")
    assert done.returncode == 1
    assert "base.tar is a directory; remove it" in done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("head -c 1000 /dev/zero; echo no such mirror >&2; exit 1", "no such mirror"),
        ("head -c 10240 /dev/zero", "not complete"),
    ],
)
def test_a_base_that_was_cut_off_is_not_kept(tmp_path: Path, agent: Path, script: str, said: str) -> None:
    base = tmp_path / "cache" / "base.tar"
    programs = stand_in(tmp_path, script)
    done = bake(tmp_path, "--agent", agent, "--base", base, "--tar", tmp_path / "ship.tar", programs=programs)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert not base.exists()
    assert not list(tmp_path.glob("bake.*")), "its working directory is gone"
