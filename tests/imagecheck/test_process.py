"""Directory images, run by a real ship agent: what is well, what is not, and that nothing stays."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mux.imagecheck.check import Bounds, Result, check
from mux.imagecheck.subject import Wishes, subject_of
from mux.preflight.finding import Finding
from tests.e2e.harness import processes_of
from tests.ship_agent.images import make_image, project_of

GONE_S_MAX = 90.0
"""How long a killed check may take to clear up; a loaded machine is slow."""
START_S = 90.0
SILENCE = Path(__file__).with_name("silence.py")


def notebook(*cells: str) -> str:
    """A notebook of code cells."""
    return json.dumps(
        {
            "cells": [
                {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None}
                for cell in cells
            ],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 4,
        }
    )  # fmt: skip


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where checks keep their files: empty again afterwards."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    return place


async def checked(image: Path, bounds: Bounds, **project: Any) -> tuple[Result, dict[str, Finding]]:
    """A whole check of a directory image, and its findings by what was looked at."""
    told: list[Finding] = []
    result = await check("process", project_of(image, **project), bounds, told.append)
    assert tuple(told) == result.findings
    return result, {finding.check: finding for finding in result.findings}


async def test_everything_is_told_with_limits_and_nothing_stays(tmp_path: Path, temporary: Path) -> None:
    result, found = await checked(make_image(tmp_path / "image", hooks={"1.sh": "echo fine\n"}), Bounds(START_S))
    # This server has nothing at its base path.
    assert {finding.check for finding in result.findings if finding.outcome != "ok"} == {"base path"}
    assert list(found) == [
        "image", "user", "hooks", "health path", "start", "base path", "token", "log", "memory",
    ]  # fmt: skip
    assert found["memory"].number
    assert 'image = "' in result.toml
    assert list(temporary.iterdir()) == []
    assert not processes_of(tmp_path)


async def test_a_hook_that_fails_and_prints_the_token_is_named(tmp_path: Path, temporary: Path) -> None:
    hooks = {"10-check.sh": 'echo "$JUPYTER_TOKEN"; exit 3\n'}
    result, found = await checked(make_image(tmp_path / "image", hooks=hooks), Bounds(START_S))
    assert result.outcome == "failure"
    assert found["hooks"].said == "the hook 10-check.sh failed with exit code 3"
    assert found["log"].outcome == "failure"
    assert "[redacted]" in result.log_tail
    assert list(temporary.iterdir()) == []


async def test_a_hook_that_hangs_is_named_after_the_bound(tmp_path: Path, temporary: Path) -> None:
    image = make_image(tmp_path / "image", hooks={"10-load.sh": "sleep 1000\n"})
    _, found = await checked(image, Bounds(start_s=3.0))
    assert found["hooks"].said == "10-load.sh has not ended after 3 s"
    assert list(temporary.iterdir()) == []


@pytest.mark.long
async def test_a_server_that_never_gets_healthy_is_told_with_its_answer(tmp_path: Path) -> None:
    _, found = await checked(make_image(tmp_path / "image"), Bounds(start_s=3.0), health_path="nothing-here")
    assert found["health path"].said == "/camp/intro/nothing-here: the answer is 404 after 3 s"
    assert "start" not in found


async def test_notebooks_run_and_one_that_fails_is_named_with_its_cell(tmp_path: Path) -> None:
    home = tmp_path / "image" / "home"
    (home / "more").mkdir(parents=True)
    (home / "1-good.ipynb").write_text(notebook("x = 41", "", "assert x + 1 == 42"))
    (home / "more" / "2-bad.ipynb").write_text(notebook("1", "open('missing')", "2"))
    subject = await subject_of(str(tmp_path / "image"), Wishes(), {})
    result = await check("process", await subject.project({}), Bounds(START_S, silence_s=1.0), lambda _: None)
    found = [finding for finding in result.findings if finding.check == "notebooks"]
    assert [finding.said for finding in found] == [
        "more/2-bad.ipynb: code cell 2 fails: FileNotFoundError: [Errno 2] No such file or directory: 'missing'"
    ]
    assert {finding.check: finding.outcome for finding in result.findings}["WebSocket"] == "ok"
    assert result.limits is not None


@pytest.mark.long
async def test_a_jupyter_that_insists_on_no_token_is_used_all_the_same(tmp_path: Path) -> None:
    """It hears of the address by settings alone, as one that an image's own script starts."""
    image = make_image(tmp_path / "image")
    (image / "home" / "a.ipynb").write_text(notebook("print(1)"))
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.token=", "--ServerApp.password="]
    project = {"kind": "jupyter", "command": command, "health_path": "api", "memory_bytes": 1 << 30, "pids": 256}
    _, found = await checked(image, Bounds(START_S, silence_s=0.5), **project)
    assert found["token"].outcome == "warning"
    assert {name for name, finding in found.items() if finding.outcome == "failure"} == set()
    assert found["notebooks"].said.startswith("1 of 1 ran")


async def silence(place: Path, drops_after_s: float, manner: str = "answers") -> Finding:
    """What a check with its own bound says of a server that treats silent WebSockets like this."""
    image = make_image(place)
    shutil.copy(SILENCE, image / "home" / "server.py")
    command = [sys.executable, "-I", "{home}/server.py", "{port}", "{base_path}", str(drops_after_s), manner]
    _, found = await checked(image, Bounds(START_S), kind="jupyter", command=command)
    assert found["saving"].outcome == "ok"
    return found["WebSocket"]


async def test_a_server_that_drops_a_silent_websocket_fails(tmp_path: Path) -> None:
    # It is dropped long before the bound, so nobody waits for that.
    found = await silence(tmp_path / "image", drops_after_s=0.5)
    assert (found.outcome, found.limit) == ("failure", 45.0)
    assert found.said.startswith("it was closed after ")
    assert "ends idle connections" in found.remedy


@pytest.mark.long
async def test_a_websocket_has_to_stand_45_s_of_silence_and_answer_then(tmp_path: Path) -> None:
    kept, dropped, deaf = await asyncio.gather(
        silence(tmp_path / "kept", drops_after_s=0),
        silence(tmp_path / "dropped", drops_after_s=35),
        silence(tmp_path / "deaf", drops_after_s=0, manner="deaf"),
    )
    assert (kept.outcome, kept.said) == ("ok", "open and answering after 45 s of silence")
    assert (dropped.outcome, dropped.said.startswith("it was closed after ")) == ("failure", True)
    assert deaf.outcome == "failure"
    assert deaf.said == "it is open after 45 s of silence, but nothing answers any more"


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGKILL])
async def test_a_check_that_is_cut_off_leaves_no_process(
    number: signal.Signals, tmp_path: Path, temporary: Path
) -> None:
    mark = tmp_path / "pid"
    image = make_image(
        tmp_path / "image", hooks={"10-load.sh": f"echo $$ > {mark}.new; mv {mark}.new {mark}; sleep 1000\n"}
    )
    cli = subprocess.Popen(
        [sys.executable, "-m", "mux.cli", "image", "check", str(image)],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        await until(mark.exists)
        hook = psutil.Process(int(mark.read_text()))
        cli.send_signal(number)
        _, errors = await asyncio.to_thread(cli.communicate, timeout=GONE_S_MAX)
    finally:
        cli.kill()
    await until(lambda: not hook.is_running() or hook.status() == psutil.STATUS_ZOMBIE)
    if number is signal.SIGINT:
        assert (cli.returncode, errors.count(b"\n") < 2) == (130, True)
        assert list(temporary.iterdir()) == []


async def until(holds: Any) -> None:
    """Returns when something holds. Raises TimeoutError."""
    deadline = time.monotonic() + GONE_S_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.05)
