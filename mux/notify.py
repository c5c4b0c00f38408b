"""What systemd is told of the supervisor: that it is ready, that it stops.

Owns the datagram of sd_notify(3). Knows nothing of what is ready. Without systemd nothing is said.

Rules: the standard library only, since the supervisor outlives everything; a word that is lost ends nobody. The
address is taken out of the environment, so that no child speaks for the service. `ship_agent.notify` is its twin: the
two programs share nothing but the protocol between them.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping

READY = "READY=1"
STOPPING = "STOPPING=1"


class Notifier:
    """Tells systemd.

    Args:
        environ: ``NOTIFY_SOCKET`` is taken out of it; without one nothing is said.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract socket (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.address = address
        """As systemd gave it; the next version of this process gets it."""

    def say(self, word: str) -> None:
        """Send one assignment, such as `READY`; lost when nobody takes it."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(word.encode(), self._address)
