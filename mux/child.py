"""A process that is kept running: started, started again when it dies, stopped in order.

Owns no more than that one process; the supervisor has one for the control process and one for each proxy. Imports
nothing that could fail at runtime.

Rules: it is started again after a short pause that grows while it keeps dying; it dies with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

RESTART_PAUSE_S = 0.1
RESTART_PAUSE_MAX_S = 5.0
"""Pause before a child is started again; doubles with each death, up to the second value."""
STEADY_S = 30.0
"""A child that lived this long has not died in a row."""
EXIT_CONFIG = 78
"""``EX_CONFIG`` of sysexits(3): starting it again would end the same way."""
SAID = "mux: "
"""How lines for people begin, among the lines of a log."""
BELOW = "\n     "
"""Between lines of one text: the second begins below the first."""
EXIT_ORPHANED = 75
"""``EX_TEMPFAIL`` of sysexits(3), of a child whose supervisor was gone before it began; nobody reads it."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One process that is kept running.

    Args:
        name: for the log.
        command: what to run.
        fds: descriptors that it inherits.
        stop_s: seconds that it gets to stop by itself.
        orphaned: signal by which it hears that this process is gone.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        fds: Sequence[int],
        stop_s: float,
        orphaned: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._fds = tuple(fds)
        self._stop_s = stop_s
        self._orphaned = orphaned
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Process id, None while it is not running."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep(self) -> int:
        """Run it, and run it again when it dies; returns its exit code once it must not be started again."""
        self._over.clear()
        try:
            return await self._keep()
        finally:
            self._over.set()

    async def _keep(self) -> int:
        pause = RESTART_PAUSE_S
        clock = asyncio.get_running_loop().time
        code = 0
        while not self._stopping.is_set():
            started = clock()
            try:
                code = await self._run_once()
                what = f"ended with {describe(code)}"
            except (OSError, subprocess.SubprocessError) as error:  # no memory or no process left: it may pass
                what = f"cannot be started: {getattr(error, 'strerror', None) or error}"
            if self._stopping.is_set() or code == EXIT_CONFIG:
                break
            pause = RESTART_PAUSE_S if clock() - started >= STEADY_S else pause
            say(f"{self.name} {what}; starting it again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * 2, RESTART_PAUSE_MAX_S)
        return code

    async def _run_once(self) -> int:
        # A process group of its own: Ctrl-C reaches the supervisor alone, which stops the children in order.
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            pass_fds=self._fds,
            stdin=asyncio.subprocess.DEVNULL,
            process_group=0,
            preexec_fn=partial(_die_with_parent, os.getpid(), self._orphaned),
        )
        if self._stopping.is_set():  # asked while it was being started
            self._signal(signal.SIGTERM)
        return await self._process.wait()

    def stop(self) -> None:
        """Ask it to end; it is not started again."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    async def stopped(self) -> None:
        """Wait until it has ended and nobody keeps it; kill it when its time is up."""
        try:
            async with asyncio.timeout(self._stop_s):
                await self._over.wait()
        except TimeoutError:
            say(f"{self.name} did not stop within {self._stop_s:g} s; killing it")
            self.kill()
            await self._over.wait()

    def kill(self) -> None:
        """End it at once."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            self._process.send_signal(number)


def _die_with_parent(parent: int, orphaned: signal.Signals) -> None:
    """Runs in the child before exec: Linux tells it when the supervisor is gone (prctl(2), PR_SET_PDEATHSIG)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, orphaned)
        if os.getppid() != parent:  # gone in between: nobody would ever say so
            os._exit(EXIT_ORPHANED)


def describe(code: int) -> str:
    """An exit code in words; negative ones are signals, as in `subprocess`."""
    if code >= 0:
        return f"exit code {code}"
    # Most real-time signals have no name.
    named = -code in set(signal.Signals)
    return f"signal {signal.Signals(-code).name if named else -code}"


def say(text: str) -> None:
    """A line on standard error; lost when nobody can take it, which must not end the mux.

    Further lines of a text stand below it. What a hook, a build or the name of a file has in it steers no terminal:
    such characters are shown.
    """
    shown = text.expandtabs().splitlines()
    lines = ("".join(each if each.isprintable() else _escaped(each) for each in line) for line in shown)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{SAID}{BELOW.join(lines)}\n")
        sys.stderr.flush()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
