"""What an author saves is in the workspace a moment later; what somebody changed there stays."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mux.cli.app import run
from mux.imagecheck.follow import changes, seen, take_over
from tests.ship_agent.images import free_port

WAIT_S_MAX = 90.0


def test_saved_files_are_taken_over_and_others_changes_stay(tmp_path: Path) -> None:
    source, home = tmp_path / "source", tmp_path / "there"
    (source / "home" / "sub").mkdir(parents=True)
    home.mkdir()
    for name in ("a", "b", "c"):
        (source / "home" / name).write_text("old")
        (home / name).write_text("old")
    before = seen(source)
    (home / "b").write_text("mine")
    (source / "home" / "a").write_text("newer")
    (source / "home" / "b").write_text("newer")
    (source / "home" / "c").unlink()
    (source / "home" / "sub" / "d").write_text("fresh")
    now = seen(source, before)
    changed = changes(before, now)
    assert changed == {"home/a", "home/b", "home/c", "home/sub/d"}
    assert take_over(source, [home], before, now, changed) == [
        "a is taken over",
        "b was changed in the workspace and stays; delete it there to get the new one",
        "c is gone",
        "sub/d is taken over",
    ]
    assert {path.relative_to(home).as_posix(): path.read_text() for path in home.rglob("*") if path.is_file()} == {
        "a": "newer",
        "b": "mine",
        "sub/d": "fresh",
    }


def test_a_link_out_of_the_home_is_not_followed(tmp_path: Path) -> None:
    source, home, elsewhere = tmp_path / "image", tmp_path / "home", tmp_path / "elsewhere"
    (source / "home" / "d").mkdir(parents=True)
    home.mkdir()
    elsewhere.mkdir()
    (home / "d").symlink_to(elsewhere)
    before = seen(source)
    (source / "home" / "d" / "new").write_text("1")
    now = seen(source)
    told = take_over(source, [home], before, now, ["home/d/new"])
    assert "leads out" in told[0]
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["image", "try", "./nowhere"]) == 2
    assert capsys.readouterr().err == "mux: ./nowhere: there is no such directory; name one, or an image\n"


def test_what_may_be_a_misspelt_directory_is_said_where_there_is_no_engine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert run(["image", "try", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith(
        "mux: nowhere: there is no such directory, and containers cannot be run here: "
    )


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_saved_file_is_in_the_workspace_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "tutorial" / "home"
    temporary = Path(tempfile.mkdtemp(prefix="try-"))  # short: Unix sockets are below it
    home.mkdir(parents=True)
    (home / "notes.txt").write_text("first")
    output = tmp_path / "output"
    with output.open("wb") as file:
        cli = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mux.cli",
                "image",
                "try",
                str(home.parent),
                "--port",
                str(free_port() // 2 + 10_000),
            ],
            env=os.environ | {"TMPDIR": str(temporary)},
            stdout=file,
            stderr=file,
        )
    try:
        await until(lambda: "Ctrl-C ends it" in output.read_text())
        assert re.search(r"http://localhost:\d+/camp/tutorial/\n  name author, code \S+", output.read_text())
        (home / "notes.txt").write_text("second one")
        await until(lambda: "notes.txt is taken over" in output.read_text())
        (workspace,) = temporary.glob("mux-image-*/data/**/workspaces/*/home/notes.txt")
        assert workspace.read_text() == "second one"
        cli.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(cli.wait, WAIT_S_MAX) == 0
    finally:
        cli.kill()
    assert list(temporary.iterdir()) == []
    temporary.rmdir()


async def until(holds: Callable[[], bool]) -> None:
    """Returns when something holds. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.1)
