"""Listening sockets: made here, or handed over by whoever held them before.

Owns how one is made, and sd_listen_fds(3), in which systemd gives a service its sockets and a supervisor gives them to
the next version of itself. Knows nothing of what is served on them. Rules: a socket that is handed over counts only
under its name and on the address that is wanted, and what is not wanted is closed; no child learns of the variables.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

BACKLOG = 4096
"""Connections waiting to be accepted: a room of people that opens the same link at once."""
UNIX_PATH_BYTES_MAX = 107
"""``sun_path`` of unix(7) less its closing zero."""
FIRST_FD = 3
"""``SD_LISTEN_FDS_START`` of sd_listen_fds(3)."""
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class ListenError(Exception):
    """A socket cannot be had; the text is one clear line.

    Args:
        message: what is so.
        remedy: what to do where an event file says the address; empty where that does not help.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class HandedOver:
    """Sockets that were open when this process began.

    Args:
        environ: the variables of sd_listen_fds(3) are taken out of it.
        say: told in one line of what is not used.
    """

    def __init__(self, environ: MutableMapping[str, str], say: Callable[[str], None] = lambda _: None) -> None:
        pid, number, names = (environ.pop(variable, "") for variable in _VARIABLES)
        self._say = say
        self._sockets: dict[str, socket.socket] = {}
        if pid != str(os.getpid()) or not number.isdigit():
            return
        for fd, name in zip(range(FIRST_FD, FIRST_FD + int(number)), names.split(":"), strict=False):
            with contextlib.suppress(OSError):
                held = socket.socket(fileno=fd)
                held.set_inheritable(False)
                held.setblocking(False)
                self._sockets[name] = held

    def take(self, name: str, address: tuple[object, ...] | str) -> socket.socket | None:
        """The socket of that name if it listens on an address, where port 0 stands for any; else None.

        Args:
            name: as it was handed over.
            address: as ``getsockname`` has it.
        """
        held = self._sockets.pop(name, None)
        if held is None:
            return None
        if held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and _same(held.getsockname(), address):
            return held
        self._say(f"the socket {name} that was handed over is not used: it does not listen on {_words(address)}")
        held.close()
        return None

    def close(self) -> None:
        """Close what nobody took."""
        for name, held in self._sockets.items():
            self._say(f"the socket {name} that was handed over is not used")
            held.close()
        self._sockets.clear()


def _same(found: object, wanted: tuple[object, ...] | str) -> bool:
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return bool(found[0] == wanted[0]) and wanted[1] in (0, found[1])
    return found == wanted


def _words(address: tuple[object, ...] | str) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def hand_over(sockets: Mapping[str, socket.socket]) -> dict[str, str]:
    """Put sockets where the program that replaces this one finds them; returns the variables that say so.

    Nothing but execve(2) may follow: descriptors from FIRST_FD on are no longer what they were.

    Args:
        sockets: by name.
    """
    above = FIRST_FD + len(sockets)
    copies = [fcntl.fcntl(held.fileno(), fcntl.F_DUPFD_CLOEXEC, above) for held in sockets.values()]
    for target, copy in enumerate(copies, FIRST_FD):
        os.dup2(copy, target, inheritable=True)
    return dict(zip(_VARIABLES, (str(os.getpid()), str(len(sockets)), ":".join(sockets)), strict=True))


def listen_tcp(what: str, host: str, port: int, handed_over: HandedOver | None = None) -> socket.socket:
    """A listening TCP socket. Raises ListenError when the address is taken or not ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if handed_over is not None and (held := handed_over.take(what, address)) is not None:
            return held
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        reason = "is in use by another program" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise ListenError(f"the {what} address {host}:{port} {reason}", f"set listen.{what} to another one") from error
    return listener


def listen_unix(path: Path, handed_over: HandedOver | None = None) -> socket.socket:
    """A listening Unix socket with mode 0600, replacing what an earlier run left. Raises ListenError.

    One that was handed over bears the name of its file.
    """
    if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
        raise ListenError(f"{path} is too long for a Unix socket; choose a data directory with a shorter path")
    if handed_over is not None and (held := handed_over.take(path.name, os.fspath(path))) is not None:
        return held
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        raise ListenError(f"{path}: {error.strerror}") from error
    return listener
