"""One ship agent as a process of this machine: spawned detached, found again, ended.

Owns how an agent of the `local` provider is told from any other process, its environment and the bound of its log.
Knows nothing of ships' states: that is `mux.providers.local`.

Rules: an agent outlives the mux, holds none of its files and sees none of its environment. A process is signalled only
when it is certainly the agent: an unreaped child of ours, or one whose identity (pid and start time) psutil has held
since it was found.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

LOG_BYTES_MAX = 4 * 1024 * 1024
"""Bound of ``agent.log``; what is above it moves to ``agent.log.1``, of which there is one."""
AGENT_JSON_BYTES_MAX = 4096
"""Bound of ``agent.json``, which holds two numbers."""
START_TIME_TOLERANCE_S = 1.0
"""The kernel counts start times in hundredths of a second from a boot time that it states in whole seconds."""
PASSED_ON = ("DOCKER_HOST", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""All that an agent gets of the mux's environment, PATH apart. No MUX_… variable is among them."""


def agent_environment(python: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What an agent's process starts with. The interpreter's own programs come first in PATH."""
    path = environment.get("PATH", os.defpath)
    return {
        **{name: environment[name] for name in PASSED_ON if name in environment},
        "PATH": f"{Path(python).parent}{os.pathsep}{path}",
        "PYTHONUNBUFFERED": "1",
    }


class AgentProcess:
    """A running agent. Make one with `spawn`, or find one with `find` or `scan`."""

    def __init__(self, process: psutil.Process, *, child: bool) -> None:
        self._process = process
        self._child = child
        self._ended: str | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> str | None:
        """None while it runs, else how it ended, for people."""
        if self._ended is None:
            self._ended = self._reap() if self._child else self._look()
        return self._ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.ended() is None:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                self._process.send_signal(number)

    def _reap(self) -> str | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return "reaped elsewhere"
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"

    def _look(self) -> str | None:
        try:
            if self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            pass
        return "gone"


def spawn(argv: Sequence[str], directory: Path, environment: Mapping[str, str]) -> AgentProcess:
    """Start an agent: own session, no stdin, output to ``agent.log``, no inherited files. Blocks for milliseconds.

    Raises OSError.
    """
    bound_log(directory)
    with (directory / "agent.log").open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the provider's own command
            argv,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # The agent is to outlive this object, which would otherwise complain, and is reaped by pid.
    process.returncode = 0
    return AgentProcess(psutil.Process(process.pid), child=True)


def find(directory: Path, tail: Sequence[str]) -> AgentProcess | None:
    """The agent that ``agent.json`` names, if it runs.

    Args:
        directory: the ship's.
        tail: last arguments of an agent's command for this directory. They count as proof beside the start time, which
            shifts when the machine's clock is set.
    """
    try:
        with (directory / "agent.json").open("rb") as file:
            raw = json.loads(file.read(AGENT_JSON_BYTES_MAX))
        pid, started_at = int(raw["pid"]), float(raw["started_at"])
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        same_start = abs(process.create_time() - started_at) <= START_TIME_TOLERANCE_S
        return AgentProcess(process, child=False) if same_start or _is_agent(process, tail) else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, psutil.Error):
        return None


def scan(tails: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], AgentProcess]:
    """Agents by the last arguments of their command: those that were killed, or that we were, before a word on disk."""
    wanted = set(tails)
    found: dict[tuple[str, ...], AgentProcess] = {}
    if not wanted:
        return found
    for process in psutil.process_iter():
        for tail in wanted:
            if _is_agent(process, tail):
                found[tail] = AgentProcess(process, child=False)
                break
    return found


def bound_log(directory: Path) -> None:
    """Move ``agent.log`` aside when it has grown too large; its writer, which appends, goes on in the emptied file."""
    path = directory / "agent.log"
    try:
        if path.stat().st_size <= LOG_BYTES_MAX:
            return
        with path.open("rb+") as file:
            file.seek(-LOG_BYTES_MAX, os.SEEK_END)
            (directory / "agent.log.1").write_bytes(file.read(LOG_BYTES_MAX))
            file.truncate(0)
    except FileNotFoundError:
        return


def _is_agent(process: psutil.Process, tail: Sequence[str]) -> bool:
    try:
        return process.cmdline()[-len(tail) :] == list(tail) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
