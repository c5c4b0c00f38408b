"""How a supervisor makes room for the next version of itself, and how that one relieves what the first one started.

Owns execve(2) into the same command line, and the proxies of an earlier supervisor. Knows nothing of events or
configuration. Rules: the process stays the same, so systemd notices nothing and children stay children; listening
sockets are never closed, so nobody is refused; the old proxies serve until the new ones do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import NoReturn

from mux.listeners import hand_over

EX_OSERR = 71
"""Of sysexits(3): whoever started this process starts it again."""
RELIEF_S = 30.0
"""What new proxies may take until they serve, before the old ones are let go all the same."""
_VARIABLE = "MUX_PREDECESSORS"


def become_next(
    sockets: Mapping[str, socket.socket], proxies: Iterable[int], environ: Mapping[str, str], notify: str
) -> NoReturn:
    """Begin anew in this process, with the program that is installed now.

    Args:
        sockets: listening ones, by name.
        proxies: process ids of those that serve on.
        environ: of the next one.
        notify: value of ``NOTIFY_SOCKET``; empty for none.

    Should there be no such program any more, this process ends: its descriptors are no longer what they were.
    """
    # Until the next one listens to its signals, another request must not end it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    variables = {_VARIABLE: ",".join(map(str, proxies))} | ({"NOTIFY_SOCKET": notify} if notify else {})
    try:
        os.execve(sys.executable, sys.orig_argv, {**environ, **variables, **hand_over(sockets)})  # noqa: S606 - no shell
    except OSError as error:
        os.write(2, f"mux: the next version cannot be started: {error.strerror}\n".encode())
        os._exit(EX_OSERR)


class Predecessors:
    """Proxies that an earlier supervisor started in this process.

    Args:
        environ: the variable that names them is taken out of it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        named = environ.pop(_VARIABLE, "").split(",")
        self.pids = [int(pid) for pid in named if pid.isdigit()]

    async def stop(self, bound_s: float) -> None:
        """Let them end what is under way, for at most ``bound_s`` seconds; twice does no harm."""
        pids, self.pids = self.pids, []
        await asyncio.gather(*(_stop(pid, bound_s) for pid in pids))


async def all_said(pipe: int, number: int) -> bool:
    """Whether so many bytes come out of a pipe: one from each process that serves. False after RELIEF_S."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    os.set_blocking(pipe, False)
    loop.add_reader(pipe, readable.set)
    try:
        async with asyncio.timeout(RELIEF_S):
            while number > 0:
                await readable.wait()
                readable.clear()
                with contextlib.suppress(BlockingIOError):
                    number -= len(os.read(pipe, number))
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pipe)
    return True


async def _stop(pid: int, bound_s: float) -> None:
    ended = asyncio.create_task(asyncio.to_thread(_wait, pid))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        done, _ = await asyncio.wait({ended}, timeout=bound_s)
        if not done:
            os.kill(pid, signal.SIGKILL)
    await ended


def _wait(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
