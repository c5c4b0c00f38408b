"""Fifty attendees on interleaved connections, while sessions and routes change: every answer is the right one's."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, UserId, WorkspaceId
from mux.core.routes import Delta, Route, RouteTable, SessionEntry
from mux.proxy.plane import Plane
from mux.proxy.routing import FeedRouter
from tests.proxy.rig import INTRO, PATIENCE_S, Wire, session_of

BOTH_LOOPS = True
BOTH_WAYS = True
ATTENDEES = 50
CONNECTIONS = 40
ORIGIN = "http://camp.test:8000"
SETTINGS = FeedSettings(ORIGIN, "mux_session", "Many", (INTRO, ProjectName("spark")))
TARGETS = [
    b"/camp/intro/lab",
    b"/camp/intro/api/contents?x=%2f",
    b"/camp/spark/",
    b"/camp/intro/static/a.js",
    b"/camp/",
]
FIELDS = [
    b"Accept: */*",
    b"Connection: keep-alive",
    b"If-None-Match: x",
    b"X_Y: 1",
    b"Cookie: theme=dark",
    b"TE: trailers",
]


@dataclass
class Workspace:
    """An upstream that says whose it is, in one of several ways."""

    name: str
    port: int = 0
    server: asyncio.Server | None = None
    wires: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.wires.add(writer)
        dice = random.Random(self.name)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                await reader.readexactly(size)
                body = self.name.encode()
                turn = dice.randrange(4)
                if turn == 0:
                    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
                        len(body),
                        body,
                    )
                elif turn == 1:
                    answer = b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a=b\r\nContent-Length: %d\r\n\r\n%b" % (
                        len(body),
                        body,
                    )
                else:
                    answer = b"HTTP/1.1 200 OK\r\nX-Turn: %d\r\nContent-Length: %d\r\n\r\n%b" % (turn, len(body), body)
                if head.startswith(b"HEAD "):
                    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Name: %b\r\n\r\n" % body
                cut = dice.choice([len(answer), len(answer), 30])
                writer.write(answer[:cut])
                if cut < len(answer):
                    await writer.drain()
                    await asyncio.sleep(0)
                    writer.write(answer[cut:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.wires.discard(writer)
            writer.close()

    def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in list(self.wires):
            writer.transport.abort()


class Room:
    """Attendees, their workspaces and tokens, and who changes them.

    Args:
        seed: of every choice.
        memo: see Plane.
        splice: see Plane.
    """

    def __init__(self, seed: int, *, memo: bool, splice: bool) -> None:
        self.dice = random.Random(seed)
        self.plane = Plane(memo=memo, splice=splice)
        self.users = [UserId(f"u{number}") for number in range(ATTENDEES)]
        self.workspaces = {user: [Workspace(f"{user}/{number}") for number in range(2)] for user in self.users}
        self.tokens = {f"token-number-{number}": self.users[number % ATTENDEES] for number in range(2 * ATTENDEES)}
        self.owners: dict[str, list[UserId | None]] = {token: [user] for token, user in self.tokens.items()}
        self.right: Counter[str] = Counter()

    def route(self, user: UserId) -> Route:
        workspace = self.dice.choice(self.workspaces[user])
        return Route(WorkspaceId(workspace.name), "127.0.0.1", workspace.port, f"secret-of-{user}")

    async def open(self) -> None:
        for pair in self.workspaces.values():
            for workspace in pair:
                await workspace.start()
        self.table = RouteTable().apply(
            Delta(
                sessions={
                    session_of(token): SessionEntry(user, time.time() + 9999) for token, user in self.tokens.items()
                },
                routes={(user, INTRO): self.route(user) for user in self.users},
            )
        )
        await self.publish(Delta())
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await self.plane.listen(sock)

    async def close(self) -> None:
        await self.plane.close()
        for pair in self.workspaces.values():
            for workspace in pair:
                workspace.stop()

    async def publish(self, delta: Delta) -> None:
        old, self.table = self.table, self.table.apply(delta)
        ended = [
            key
            for key, entry in delta.sessions.items()
            if key in old.sessions and (entry is None or entry.user != old.sessions[key].user)
        ]
        await self.plane.put_in_force(
            FeedRouter(SETTINGS, self.table, "/nowhere"),
            "",
            ended,
            {key: old.routes[key] for key in delta.routes if key in old.routes},
        )

    async def change(self) -> None:
        """One change: a workspace moves, a session ends, comes back, or becomes another attendee's."""
        token = self.dice.choice(list(self.tokens))
        user = self.dice.choice(self.users)
        what = self.dice.randrange(4)
        if what == 0:
            await self.publish(Delta(routes={(user, INTRO): self.route(user)}))
        elif what == 1:
            self.owners[token].append(None)
            await self.publish(Delta(sessions={session_of(token): None}))
        else:
            owner = user if what == 2 else self.tokens[token]
            self.owners[token].append(owner)
            await self.publish(Delta(sessions={session_of(token): SessionEntry(owner, time.time() + 9999)}))

    async def browse(self, requests: int, seed: int) -> None:
        """One connection after the other, with requests of whoever."""
        dice = random.Random(seed)
        wire: Wire | None = None
        for _ in range(requests):
            token, target = dice.choice(list(self.tokens)), dice.choice(TARGETS)
            fields = dice.sample(FIELDS, dice.randrange(3))
            if dice.random() < 0.2:
                fields.append(b"X-New: %d" % dice.getrandbits(32))
            method, body = dice.choice(
                [(b"GET", b""), (b"GET", b""), (b"GET", b""), (b"HEAD", b""), (b"POST", b"hello")]
            )
            raw = b"%b %b HTTP/1.1\r\nHost: camp.test:8000\r\nCookie: mux_session=%b\r\n" % (
                method,
                target,
                token.encode(),
            )
            raw += b"".join(item + b"\r\n" for item in fields)
            raw += b"Content-Length: 5\r\nOrigin: http://camp.test:8000\r\n\r\nhello" if body else b"\r\n"
            began = len(self.owners[token]) - 1
            try:
                if wire is None:
                    wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
                await wire.send(raw)
                answer = await wire.response(head_only=method == b"HEAD")
            except (ConnectionError, asyncio.IncompleteReadError):
                self.right["cut"] += 1
                wire = None
                continue
            said = (answer.body or b"".join(value.encode() for value in answer.values("x-name"))).decode("latin-1")
            owners = self.owners[token][began:]
            if answer.status in (200, 404) and "/" in said and "error" not in said:
                whose = said.split("\r\n")[1] if "\r\n" in said else said
                assert whose.split("/")[0] in owners, (target, whose, owners)
                assert target.startswith(b"/camp/intro"), target
                self.right["answered"] += 1
            else:
                assert answer.status == 503, answer
                in_vain = None in owners or len(owners) > 1 or not target.startswith(b"/camp/intro")
                assert in_vain or method == b"HEAD" or b"workspace_moved" in answer.body
                self.right["refused"] += 1
                wire.close()
                wire = None
        if wire is not None:
            wire.close()


@pytest.mark.parametrize(
    "requests", [3_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
async def test_every_answer_is_the_right_attendees(way: dict[str, Any], requests: int) -> None:
    room = Room(seed=requests, memo=way["memo"], splice=way["splice"])
    await room.open()
    try:
        browsing = [asyncio.create_task(room.browse(requests // CONNECTIONS, seed)) for seed in range(CONNECTIONS)]
        async with asyncio.timeout(requests / 100 + 10 * PATIENCE_S):
            while not all(task.done() for task in browsing):
                await room.change()
                await asyncio.sleep(0.002)
            await asyncio.gather(*browsing)
    finally:
        for task in browsing:
            task.cancel()
        await room.close()
    assert sum(room.right.values()) == requests // CONNECTIONS * CONNECTIONS
    assert room.right["answered"] > requests / 3, room.right
