"""The end of a workspace's terminals: what runs in them hears of it in time to save.

A Jupyter server that is asked to stop hangs up its shells, waits for none of what runs in them, and goes (terminado,
``PtyWithClients.terminate``); whatever is left is killed then. So the terminals are hung up first.

Rules: no more than a terminal does that goes away: SIGHUP to whatever has one (termios(3), "Modem Disconnect"), and
SIGCONT so that what was stopped hears it too. Nothing else follows while that is being acted on: an editor takes a
second deadly signal in the middle of saving as the order to give up. Only what ignores SIGHUP gets SIGTERM afterwards.
Linux only, where processes are told apart for sure (pidfd_open(2)); elsewhere nothing is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

from ship_agent.runtimes.shim import descendants

HANG_UP_SHARE = 0.2
"""Of a stop's grace, for what is hung up: editors take milliseconds."""
TERMINATE_SHARE = 0.1
"""Of it, for what ignores that."""
PROGRAMS_MAX = 256
"""Programs in terminals of one workspace that are looked at: each is an open file meanwhile."""


async def hang_up(root: int, grace_s: float) -> None:
    """Hang up the terminals below a process, and wait until what ran in them has ended, or for as long as it may take.

    Args:
        root: everything below it belongs to the workspace.
        grace_s: how long the whole stop may take.
    """
    with ExitStack() as stack:
        programs = await asyncio.to_thread(_in_terminals, root)
        for program in programs:
            stack.callback(os.close, program)
        for numbers, share in (((signal.SIGHUP, signal.SIGCONT), HANG_UP_SHARE), ((signal.SIGTERM,), TERMINATE_SHARE)):
            if not programs:
                return
            for number in numbers:
                for program in programs:
                    with suppress(OSError):  # it has ended, or is somebody else's by now
                        signal.pidfd_send_signal(program, number)
            programs = await _left(programs, grace_s * share)


def _in_terminals(root: int) -> list[int]:
    """A pidfd for each process below ``root`` that has a terminal."""
    opened: dict[int, int] = {}
    for pid in [pid for pid in descendants(root) if _has_terminal(pid)][:PROGRAMS_MAX]:
        with suppress(OSError):
            opened[pid] = os.pidfd_open(pid)
    # What ended before it was opened may have left its number to somebody else's process.
    below = set(descendants(root)) if opened else set()
    for pid in opened.keys() - below:
        os.close(opened.pop(pid))
    return list(opened.values())


def _has_terminal(pid: int) -> bool:
    """proc(5), field 7 of ``/proc/<pid>/stat``."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[4]) != 0
    except (OSError, IndexError, ValueError):
        return False


async def _left(programs: list[int], patience_s: float) -> list[int]:
    """Those that have not ended once ``patience_s`` has passed."""
    loop = asyncio.get_running_loop()
    ends = {program: loop.create_future() for program in programs}
    for program, ended in ends.items():
        loop.add_reader(program, _set, ended)
    try:
        await asyncio.wait(ends.values(), timeout=patience_s)
    finally:
        for program in programs:
            loop.remove_reader(program)
    return [program for program, ended in ends.items() if not ended.done()]


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
