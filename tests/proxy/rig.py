"""What the data plane's tests are driven with: raw clients, raw upstreams, and a plane between them.

Nothing here parses more than a test needs to see: a client and an upstream speak in bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import Route, RouteTable, SessionEntry
from mux.proxy.front import Front
from mux.proxy.grammar import parse_field
from mux.proxy.plane import Plane
from mux.proxy.request import RequestHead
from mux.proxy.routing import FeedRouter

ORIGIN = "http://camp.test:8000"
COOKIE = "mux_session"
HOST = b"Host: camp.test:8000\r\n"
ALICE, BOB = UserId("u-alice"), UserId("u-bob")
INTRO = ProjectName("intro")
SPARK = ProjectName("spark")
SETTINGS = FeedSettings(ORIGIN, COOKIE, "Test Camp", (INTRO, SPARK), frozenset({SPARK}))
PATIENCE_S = 20.0
"""After which a test that waits for bytes fails instead of hanging."""


@dataclass
class Response:
    """A response as a client read it. ``head`` and ``body`` are raw; chunks are not decoded."""

    head: bytes
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def values(self, name: str) -> list[str]:
        """Every value of a field."""
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [value.strip().decode("latin-1") for key, _, value in lines if key.lower() == name.lower().encode()]

    @property
    def code(self) -> str:
        """Machine code of an own answer in JSON."""
        return str(json.loads(self.body)["error"]["code"])


@dataclass
class Wire:
    """One end of a connection, in bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        """Up to and with an empty line."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """Everything to the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def closed(self) -> bytes:
        """Wait for the end, in order or by a reset; what came before it."""
        data = b""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while more := await self.reader.read(65536):
                    data += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return data

    async def response(self, *, head_only: bool = False) -> Response:
        """A response with Content-Length, chunked, or without a body."""
        response = Response(await self.head())
        if head_only or response.status < 200 or response.status in (204, 304):
            return response
        if response.values("transfer-encoding"):
            response.body = await self.until(b"0\r\n\r\n")
        elif lengths := response.values("content-length"):
            response.body = await self.exactly(int(lengths[0]))
        return response

    async def ask(self, request: bytes) -> Response:
        await self.send(request)
        return await self.response()

    def close(self) -> None:
        self.writer.close()


Script = Callable[[Wire], Awaitable[None]]


class Upstream:
    """A server whose every connection is driven by a script; the default answers requests with its name.

    Args:
        name: stands in the answers.
        path: of a Unix socket; empty for TCP.
    """

    def __init__(self, name: str, path: str = "") -> None:
        self.name = name
        self.path = path
        self.port = 0
        self.script: Script | None = None
        self.requests: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.accepted = 0
        self.warming = False
        self.failures: list[Exception] = []
        self._wires: list[Wire] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def start(self) -> Self:
        """Listen, on the same port as before if there was one."""
        if self.path:
            self._server = await asyncio.start_unix_server(self._serve, self.path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening, and end every connection."""
        self._server.close()
        for wire in list(self._wires):
            wire.writer.transport.abort()
        for task in list(self._serving):
            task.cancel()
        await self.all_closed()

    async def all_closed(self) -> None:
        """Until no connection is open."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: not self._wires)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self.accepted += 1
        try:
            if self.warming:  # it counts, and which script answers is known, when the first request comes
                first = await reader.read(1)
                if not first:
                    return
                reader._buffer[:0] = first  # type: ignore[attr-defined]
            self._wires.append(wire)
            self.connections += 1
            await (self.script or self._answer)(wire)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the plane hung up, or the test is over
        except Exception as error:
            self.failures.append(error)
        finally:
            if wire in self._wires:
                self._wires.remove(wire)
            writer.close()
            async with self._changed:
                self._changed.notify_all()

    async def _answer(self, wire: Wire) -> None:
        while True:
            await self.request(wire)
            body = self.name.encode()
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def request(self, wire: Wire) -> Response:
        """Read a request (its head, and its body if it has Content-Length) and record it."""
        head = await wire.reader.readuntil(b"\r\n\r\n")
        request = Response(head)
        self.requests.append(head)
        if lengths := request.values("content-length"):
            request.body = await wire.exactly(int(lengths[0]))
        elif request.values("transfer-encoding"):
            request.body = await wire.until(b"0\r\n\r\n")
        self.bodies.append(request.body)
        return request


def answering(upstream: Upstream, *chunks: bytes, close: bool = False) -> Script:
    """A script that answers every request with these bytes, each in a write of its own."""

    async def script(wire: Wire) -> None:
        while True:
            await upstream.request(wire)
            for chunk in chunks:
                await wire.send(chunk)
            if close:
                return

    return script


class Rig:
    """A plane with two attendees, and everything around it on loopback.

    Args:
        directory: for sockets.
        front: TLS and what stands in front.
        memo: whether the plane remembers heads.
        splice: whether it passes large bodies through the kernel.
        warm: upstream connections of each attendee that are open before the first request, so that it goes the short
            way if it may.
    """

    def __init__(
        self, directory: Path, front: Front | None = None, *, memo: bool = True, splice: bool = True, warm: int = 0
    ) -> None:
        self.front = front
        self._memo = memo
        self._splice = splice
        self._warm = warm
        self.alice = Upstream("alice")
        self.bob = Upstream("bob")
        self.web_path = str(directory / "web")
        self.web = Upstream("web", self.web_path)
        self.tokens = {ALICE: "token-of-alice", BOB: "token-of-bob"}
        self._clients: list[Wire] = []

    async def __aenter__(self) -> Self:
        for upstream in (self.alice, self.bob, self.web):
            await upstream.start()
        self.table = RouteTable(
            sessions={session_of(token): SessionEntry(user, time.time() + 600) for user, token in self.tokens.items()},
            routes={(ALICE, INTRO): self.route(self.alice), (BOB, INTRO): self.route(self.bob)},
        )
        self.plane = Plane(front=self.front, memo=self._memo, splice=self._splice)
        await self.publish(self.table)
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await self.plane.listen(sock)
        for upstream, user in ((self.alice, ALICE), (self.bob, BOB)):
            upstream.warming = True
            for number in range(self._warm):
                await self.warm(user)
                while upstream.accepted <= number:
                    await asyncio.sleep(0)
            upstream.warming = False
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for client in self._clients:
            client.writer.transport.abort()
        await self.plane.close()
        for upstream in (self.alice, self.bob, self.web):
            await upstream.stop()
        failures = self.alice.failures + self.bob.failures + self.web.failures
        if failures and exc_info[0] is None:
            raise failures[0]

    async def warm(self, user: UserId) -> None:
        """Open a connection to an attendee's workspace, and leave it idle."""
        connection = await self.plane.pools.connect(self.plane.route(asked(user)))
        connection.pool.give(connection, self.plane.now())

    def chill(self) -> None:
        """Close the idle connections that were opened before the first request."""
        self.plane.pools.drop_all()

    def route(self, upstream: Upstream, workspace: str = "") -> Route:
        """A route to an upstream."""
        return Route(
            WorkspaceId(workspace or f"ws-{upstream.name}"), "127.0.0.1", upstream.port, f"secret-{upstream.name}"
        )

    async def publish(self, table: RouteTable) -> None:
        """Put a table in force as it is; what it revokes is cut by the tests of the feed."""
        self.table = table
        await self.plane.put_in_force(self.router(table), "Test Camp", (), {})
        self.plane.pools.keep(self.plane.router.keeps)

    def router(self, table: RouteTable) -> FeedRouter:
        """The router of a table."""
        return FeedRouter(SETTINGS, table, self.web_path)

    async def client(self) -> Wire:
        """A raw connection to the plane."""
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(wire)
        return wire

    async def ask(self, request: bytes) -> Response:
        """One request on a connection of its own."""
        wire = await self.client()
        return await wire.ask(request)

    @property
    def flags(self) -> list[str]:
        """What has a process go the same way as this plane."""
        return ["--no-memo"] * (not self._memo) + ["--no-splice"] * (not self._splice)

    @property
    def reached(self) -> list[bytes]:
        """Heads that reached any upstream."""
        return self.alice.requests + self.bob.requests + self.web.requests


def session_of(token: str) -> SessionHash:
    """The hash under which a token is published."""
    return SessionHash(hashlib.sha256(token.encode()).hexdigest())


def cookie(user: UserId = ALICE) -> bytes:
    """The Cookie line of an attendee."""
    token = "token-of-alice" if user == ALICE else "token-of-bob"
    return f"Cookie: {COOKIE}={token}\r\n".encode()


def asked(user: UserId) -> RequestHead:
    """A request of an attendee for their workspace, as the strict parser gives it."""
    fields = [parse_field(line) for line in (HOST + cookie(user)).split(b"\r\n")[:-1]]
    return RequestHead(b"GET", b"/camp/intro/", 1, fields, HOST[6:-2], b"", 0, frozenset(), True, False)


def request(
    line: bytes = b"GET /camp/intro/lab",
    *fields: bytes,
    user: UserId | None = ALICE,
    body: bytes = b"",
    host: bytes = HOST,
) -> bytes:
    """A request of an attendee: ``line`` without version, then field lines without line ends."""
    head = line + b" HTTP/1.1\r\n" + host + (cookie(user) if user else b"")
    return head + b"".join(item + b"\r\n" for item in fields) + b"\r\n" + body
