"""A mux for the command line to talk to: the real admin API on a Unix socket and on TCP, with a fake engine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mux.cli.app import run
from tests.admin.support import Admin, running_admin


@dataclass(slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


class Cli:
    """Runs command lines against one mux."""

    def __init__(self, admin: Admin, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.admin = admin
        self.data = data
        self._capsys = capsys

    async def __call__(self, *args: str) -> Said:
        """One command line in this process, in a thread of its own: the mux answers meanwhile."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(run, [*args, "--data", str(self.data)])
        out, err = self._capsys.readouterr()
        return Said(code, out, err)

    async def program(self, *args: str, **environ: str) -> Said:
        """One command line as a program of its own."""
        return await program(*args, "--data", str(self.data), **environ)


async def program(*args: str, **environ: str) -> Said:
    """``mux`` as a program, with nothing on stdin."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUX_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mux.cli",
        *args,
        env={**kept, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Said(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("MUX_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)


@pytest.fixture
async def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Cli]:
    """A mux whose data directory is ``tmp_path``."""
    # The mux of these tests logs in this process, whose stdout is the command line's.
    with capture_logs():
        async with running_admin(tmp_path) as admin:
            yield Cli(admin, tmp_path, capsys)


@pytest.fixture
def local(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Command lines without a mux."""

    def call(*args: str) -> Said:
        capsys.readouterr()
        code = run(list(args))
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call
