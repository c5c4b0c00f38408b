"""A plane without sockets: every byte and every turn of the event loop is the driver's, so a run can be repeated."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from mux.core.model import PortName, SessionHash, WorkspaceId
from mux.core.routes import Route, RoutePort, RouteTable, SessionEntry
from mux.proxy.client import ClientConnection
from mux.proxy.descriptors import Descriptors
from mux.proxy.plane import Plane
from mux.proxy.routing import Destination, FeedRouter, RoutePool
from mux.proxy.upstream import UpstreamConnection
from tests.proxy.rig import ALICE, BOB, INTRO, SETTINGS, session_of

PORTS = (RoutePort(PortName("dash"), 3), RoutePort(PortName("kept"), 4, with_prefix=True))
"""Further ports of Alice's workspace."""
TURNS = 12
"""Of the event loop, after which nothing moves by itself any more: a connection takes three, an end two."""


class Pipe(asyncio.Transport):
    """One end of a connection; what is written is kept, what is to be read is given by hand."""

    def __init__(self, protocol: asyncio.BaseProtocol, quiet: socket.socket | None = None) -> None:
        super().__init__()
        self._protocol = protocol
        self._quiet = quiet
        self.written = b""
        self.ended = False
        self.how = "open"
        self._paused = False
        self._waiting: list[bytes] = []
        self._eof = False
        cast(asyncio.Protocol, protocol).connection_made(self)

    def give(self, data: bytes) -> None:
        """Bytes from the other side."""
        self._waiting.append(data)
        self._deliver()

    def give_end(self) -> None:
        """The other side sends no more."""
        self._eof = True
        self._deliver()

    def _deliver(self) -> None:
        while self._waiting and not self._paused and self.how == "open":
            cast(asyncio.Protocol, self._protocol).data_received(self._waiting.pop(0))
        if self._eof and not self._waiting and not self._paused and self.how == "open":
            self._eof = False
            if not cast(asyncio.Protocol, self._protocol).eof_received():
                self.close()

    def _end(self, how: str) -> None:
        if self.how == "open":
            self.how = how
            asyncio.get_running_loop().call_soon(self._lost)

    def _lost(self) -> None:
        self._protocol.connection_lost(None)

    # -- asyncio.Transport ------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self.how == "open":
            self.written += bytes(data)

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("reset")

    def is_closing(self) -> bool:
        return self.how != "open"

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._waiting or self._eof:
            asyncio.get_running_loop().call_soon(self._deliver)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "socket": self._quiet}.get(name, default)


@dataclass
class Outcome:
    """What the world sees of one exchange."""

    to_workspaces: list[tuple[str, bytes]] = field(default_factory=list)
    """A workspace's port, or ``web``, and the bytes that one connection to it got."""
    to_client: bytes = b""
    end: str = "open"
    refused: str = ""


class Stage:
    """One plane with two attendees.

    Args:
        memo: whether it remembers heads.
    """

    def __init__(self, *, memo: bool) -> None:
        self.plane = Plane(Descriptors(100, 100, 0), memo=memo, splice=False)
        self.plane.wall = lambda: 2.0**30  # so that own answers have the same date
        self.table = RouteTable(
            sessions={
                session_of("token-of-alice"): SessionEntry(ALICE, 2.0**40),
                session_of("token-of-bob"): SessionEntry(BOB, 2.0**40),
                SessionHash("0" * 64): SessionEntry(BOB, 1.0),
            },
            routes={
                (ALICE, INTRO): Route(WorkspaceId("alice"), "127.0.0.1", 1, "secret-alice", ports=PORTS),
                (BOB, INTRO): Route(WorkspaceId("bob"), "127.0.0.1", 2, "secret-bob"),
            },
        )
        self._workspaces: list[Workspace] = []
        self._quiet = socket.socketpair()
        """The kernel has nothing for it: an idle connection is asked of that."""
        self.plane.pools.connect = self._connect  # type: ignore[method-assign]

    async def open(self) -> None:
        """Put the table in force."""
        await self.plane.put_in_force(FeedRouter(SETTINGS, self.table, "web"), "Fuzz Camp", (), {})

    async def close(self) -> None:
        """End the plane."""
        await self.plane.close()
        for sock in self._quiet:
            sock.close()

    async def _connect(self, destination: Destination) -> UpstreamConnection:
        await asyncio.sleep(0)
        return self._make(destination.pool, destination.address.path or f"{destination.address.port}")

    def _make(self, key: Hashable, name: str) -> UpstreamConnection:
        connection = UpstreamConnection(self.plane.pools.of(key))
        self._workspaces.append(Workspace(name, Pipe(connection, self._quiet[0])))
        return connection

    def _warm(self) -> None:
        """An idle connection of each attendee's, so that the short way may be taken."""
        for key, route in self.table.routes.items():
            connection = self._make(RoutePool(key, route), str(route.port))
            connection.pool.give(connection, self.plane.now())

    async def exchange(self, request: Sequence[bytes], answer: Sequence[bytes]) -> Outcome:
        """One client connection, from its first byte to its end.

        Args:
            request: what the client sends, piece by piece, before it ends its side.
            answer: what every workspace answers as soon as it has a head; then it ends the connection.
        """
        self._workspaces.clear()
        self._warm()
        before = dict(self.plane.tally.values)
        client = Pipe(ClientConnection(self.plane))
        for piece in request:
            client.give(piece)
            await self._settle(answer)
        client.give_end()
        await self._settle(answer)
        outcome = Outcome(to_client=client.written, end=client.how)
        outcome.to_workspaces = [(made.name, made.pipe.written) for made in self._workspaces if made.pipe.written]
        outcome.refused = ",".join(
            name for name, value in self.plane.tally.values.items() if "refusals" in name and before.get(name) != value
        )
        client.abort()
        for made in self._workspaces:
            made.pipe.abort()
        await _turns()
        assert not self.plane._clients and not self.plane._tunnels and not self.plane.pools.idle, "something was kept"
        return outcome

    async def _settle(self, answer: Sequence[bytes]) -> None:
        await _turns()
        while waiting := [made for made in self._workspaces if made.asked]:
            for made in waiting:
                made.answered = True
                for piece in answer:
                    made.pipe.give(piece)
                    await asyncio.sleep(0)
                made.pipe.give_end()
            await _turns()


@dataclass
class Workspace:
    """The other end of a connection to a workspace, or to the pages."""

    name: str
    pipe: Pipe
    answered: bool = False

    @property
    def asked(self) -> bool:
        """Whether it has a request to answer."""
        return not self.answered and b"\r\n\r\n" in self.pipe.written


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
