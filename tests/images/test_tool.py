"""`tools/images`: one build at a time in a checkout, and nothing of a build that was killed gets into the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker_engine import ROOT
from tests.parts import require

BUILD_S_MAX = 60


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one image, and an engine's command that can do everything at once."""
    require("flock")
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "images", tmp_path / "tools")
    (tmp_path / "images" / "intro").mkdir(parents=True)
    (tmp_path / "images" / "intro" / "Dockerfile").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "docker").chmod(0o755)
    (tmp_path / ".cache").mkdir()
    return tmp_path


def build(checkout: Path) -> subprocess.Popen[str]:
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    return subprocess.Popen(
        [checkout / "tools" / "images", "images/intro"],
        env=os.environ | {"PATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_build_waits_for_the_first_and_clears_what_a_killed_one_left(checkout: Path) -> None:
    left = checkout / ".cache" / "images.Ab12Cd"
    (left / "wheels").mkdir(parents=True)
    with (checkout / ".cache" / "images.lock").open("wb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = build(checkout)
        assert second.stderr is not None
        assert second.stderr.readline() == "images: another build is under way in this checkout: waiting for it\n"
        assert left.exists()
    _, said = second.communicate(timeout=BUILD_S_MAX)
    assert second.returncode == 0, said
    assert "images: ready: mux/intro" in said
    assert [path.name for path in (checkout / ".cache").iterdir()] == ["images.lock"]
