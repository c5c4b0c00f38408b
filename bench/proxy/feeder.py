"""``python -m bench.proxy.feeder``: what a control process is to a proxy that is measured: one that feeds it, and that
takes its counters and what it tells of tunnels.

The feed's own `Publisher`, attendees with a session each, and the two routes of each that the bench asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import socket
import time

from bench.proxy.targets import SESSIONS
from mux.core.commands import Placement, Publish
from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import SessionEntry
from mux.publisher import Publisher

WEB, ECHO = ProjectName("intro"), ProjectName("echo")
DAY_S = 86_400.0


async def feed(path: str, ready_fd: int, origin: str, web_port: int, echo_port: int) -> None:
    """Publish, and take what comes back, until the end.

    Args:
        path: of the feed's socket.
        ready_fd: pipe that gets one byte once a proxy may connect.
        origin: of the proxy, as a browser writes it.
        web_port: what is behind one project.
        echo_port: what is behind the other.
    """
    publisher = Publisher(lambda _: "of-the-workspace", FeedSettings(origin, "mux_session", "Bench Camp", (WEB, ECHO)))
    users = {session: UserId(f"attendee-{number}") for number, session in enumerate(SESSIONS)}
    places = {WEB: web_port, ECHO: echo_port}
    publisher.publish(
        Publish(
            sessions={
                SessionHash(hashlib.sha256(session.encode()).hexdigest()): SessionEntry(user, time.time() + DAY_S)
                for session, user in users.items()
            },
            routes={
                (user, project): Placement(WorkspaceId(f"{user}-{project}"), "127.0.0.1", port)
                for user in users.values()
                for project, port in places.items()
            },
        )
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    await publisher.serve(listener)
    os.write(ready_fd, b".")
    await asyncio.Event().wait()


def main() -> None:
    """Path of the feed's socket, the proxy's origin, two ports."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy.feeder", description=__doc__)
    parser.add_argument("path")
    parser.add_argument("origin")
    parser.add_argument("web_port", type=int)
    parser.add_argument("echo_port", type=int)
    parser.add_argument("--ready-fd", type=int, required=True)
    chosen = parser.parse_args()
    asyncio.run(feed(chosen.path, chosen.ready_fd, chosen.origin, chosen.web_port, chosen.echo_port))


if __name__ == "__main__":
    main()
