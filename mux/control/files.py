"""The file endpoint on the control listener: ships bring snapshots of attendees' files, and fetch them back.

Owns who may do what, and bounds. Knows neither what is in a file nor where it is kept.

Rules: denied by default. A ship shows the token of its link, so it is who it proved to be there, and is heard only
while it is linked. It names a workspace, or a directory that those of a seat share, and the core says whose that is:
the attendee's who sits there now, or one's who was moved away and whose work the ship keeps. From the latter a snapshot
becomes a recovered copy, and nothing is given out. Where ships bring chunks elsewhere, they get an address for each, on
the same terms. Nothing of a request or an address is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Literal, TypeVar

from aiohttp import web
from pydantic import ValidationError

from mux.control.strangers import show
from mux.core.model import ShipId, WorkspaceId
from mux.core.views import Holder
from mux.files.base import (
    ChunksMissingError,
    DamagedError,
    FilesStore,
    FilesStoreError,
    MissingError,
    NoRoomError,
)
from ship_agent.protocol.snapshot import MANIFEST_BYTES_MAX, OBJECT_BYTES_MAX, AddressWanted, Missing

BODIES_MAX: Final = 8
"""Requests with a body that are held at once: each may be a manifest of some megabytes."""
BODIES_WAITING_MAX: Final = 1_000
"""Those that wait for it; ships send one at a time."""
REQUESTS_OF_SHIP_MAX: Final = 12
"""Requests of one ship at once: it restores up to four directories and sends one thing at a time."""
BODIES_OF_SHIP_MAX: Final = 2
"""Of these with a body: one, and one that broke off and has not been noticed. What one ship holds up is its own."""
BODY_S: Final = 45.0
"""How long a body may take to come."""
ADDRESS_WANTED_BYTES_MAX: Final = 1024
"""Of what a ship says of a chunk that it is about to bring elsewhere."""
SCHEME: Final = "Bearer "

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FilesEndpoint:
    """Serves one store.

    Args:
        store: where files are kept.
        ship_of: the ship that a token belongs to, or None.
        holder: whose files a workspace of a ship holds, or None; with a third argument that is not empty, whose the
            directory of that name is, and the second is what the workspaces of its seat share by.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: FilesStore,
        ship_of: Callable[[str], ShipId | None],
        holder: Callable[[ShipId, WorkspaceId, str], Holder | None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._ship_of = ship_of
        self._holder = holder
        self._clock = clock
        self._bodies = asyncio.Semaphore(BODIES_MAX)
        self._waiting = 0
        self._requests: Counter[ShipId] = Counter()
        self._bodies_of: Counter[ShipId] = Counter()

    def routes(self) -> list[web.RouteDef]:
        """What the daemon mounts on the control listener."""
        return [
            route
            for base in ("/ship/files/{workspace}", "/ship/files/{workspace}/shared/{shared}")
            for route in (
                web.post(base + "/snapshots", self._bounded(self._offer)),
                web.get(base + "/snapshots", self._bounded(self._newest), allow_head=False),
                web.get(base + "/snapshots/{snapshot}", self._bounded(self._snapshot), allow_head=False),
                web.put(base + "/objects/{chunk}", self._bounded(self._put)),
                web.get(base + "/objects/{chunk}", self._bounded(self._object), allow_head=False),
                web.post(base + "/objects/{chunk}/address", self._bounded(self._address)),
            )
        ]

    def _bounded(self, handler: Handler) -> Handler:
        """No ship asks for so much at once that others are held up."""

        async def handle(request: web.Request) -> web.StreamResponse:
            with _one_more(self._requests, self._ship(request), REQUESTS_OF_SHIP_MAX):
                return await handler(request)

        return handle

    async def _offer(self, request: web.Request) -> web.Response:
        self._allowed(request)
        body = await self._body(request, MANIFEST_BYTES_MAX)
        holder = self._allowed(request)  # again: somebody may have been moved while the body came
        kind: Literal["recovered", "snapshot"] = "recovered" if holder.kept else "snapshot"
        try:
            await _kept(self._store.put_manifest(holder.user, holder.project, kind, body, self._clock()))
        except ChunksMissingError as error:
            missing = Missing(chunks=error.chunks, direct=self._store.direct is not None)
            return web.Response(text=missing.model_dump_json(), status=409, content_type="application/json")
        return web.Response(status=201)

    async def _put(self, request: web.Request) -> web.Response:
        self._allowed(request)
        body = await self._body(request, OBJECT_BYTES_MAX)
        holder = self._allowed(request)
        await _kept(self._store.put_object(holder.user, request.match_info["chunk"], body))
        return web.Response(status=201)

    async def _newest(self, request: web.Request) -> web.Response:
        """What a ship takes of a snapshot into the next one, where it may not read it any more."""
        holder = self._allowed(request)
        snapshot = self._store.latest(holder.user, holder.project) if not holder.kept else None
        try:
            body = await _kept(self._store.body(snapshot)) if snapshot is not None else b""
        except (web.HTTPNotFound, web.HTTPBadRequest):  # it is damaged: then nothing can be taken of it
            body = b""
        if not body:
            raise web.HTTPNotFound(text="There is no snapshot of this attendee's project.\n")
        return web.Response(body=body, content_type="application/json")

    async def _snapshot(self, request: web.Request) -> web.Response:
        holder = self._served(request)
        snapshot = self._store.find(holder.user, holder.project, request.match_info["snapshot"])
        if snapshot is None:
            raise web.HTTPNotFound(text="There is no such snapshot of this attendee's project.\n")
        body = await _kept(self._store.body(snapshot))
        return web.Response(body=body, content_type="application/json")

    async def _object(self, request: web.Request) -> web.Response:
        holder = self._served(request)
        if self._store.direct is not None:
            address = await _kept(self._store.direct.sign_get(holder.user, request.match_info["chunk"]))
            return web.Response(status=307, headers={"Location": address.url})
        packed = await _kept(self._store.packed(holder.user, request.match_info["chunk"]))
        return web.Response(body=packed)

    async def _address(self, request: web.Request) -> web.Response:
        """Where a chunk may be brought: by whom the request shows that it is allowed to bring it here."""
        self._allowed(request)
        body = await self._body(request, ADDRESS_WANTED_BYTES_MAX)
        holder = self._allowed(request)
        if self._store.direct is None:
            raise web.HTTPNotFound(text="Chunks are brought to the mux itself.\n")
        try:
            wanted = AddressWanted.model_validate_json(body)
        except ValidationError:
            raise web.HTTPBadRequest(text="That is no length and checksum of a chunk.\n") from None
        chunk = request.match_info["chunk"]
        address = await _kept(self._store.direct.sign_put(holder.user, chunk, wanted.length, wanted.sha256))
        return web.Response(text=address.model_dump_json(), content_type="application/json")

    def _allowed(self, request: web.Request) -> Holder:
        """Whose files the request is about; raises HTTPForbidden."""
        workspace, shared = WorkspaceId(request.match_info["workspace"]), request.match_info.get("shared", "")
        holder = self._holder(self._ship(request), workspace, shared)
        if holder is None:
            raise _forbidden()
        return holder

    def _ship(self, request: web.Request) -> ShipId:
        """Who asks; raises HTTPForbidden."""
        token = request.headers.get("Authorization", "").removeprefix(SCHEME)
        ship = self._ship_of(token) if token.isascii() else None
        if ship is None:
            raise _forbidden()
        show(request)
        return ship

    def _served(self, request: web.Request) -> Holder:
        holder = self._allowed(request)
        if holder.kept:
            raise web.HTTPForbidden(text="The attendee was moved to another ship.\n")
        return holder

    async def _body(self, request: web.Request, bytes_max: int) -> bytes:
        if self._waiting >= BODIES_WAITING_MAX:
            raise web.HTTPServiceUnavailable(text="Too many ships send files. Come again.\n")
        self._waiting += 1
        try:
            with _one_more(self._bodies_of, self._ship(request), BODIES_OF_SHIP_MAX):
                async with self._bodies, asyncio.timeout(BODY_S):
                    body = bytearray()
                    async for piece in request.content.iter_chunked(1 << 16):
                        body += piece
                        if len(body) > bytes_max:
                            raise web.HTTPRequestEntityTooLarge(bytes_max, len(body))
                    return bytes(body)
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text="The body takes too long.\n") from error
        finally:
            self._waiting -= 1


def _forbidden() -> web.HTTPForbidden:
    return web.HTTPForbidden(text="Files are for linked ships, of attendees who sit there.\n")


@contextlib.contextmanager
def _one_more(under_way: Counter[ShipId], ship: ShipId, most: int) -> Iterator[None]:
    """Count something that a ship has under way; raises HTTPTooManyRequests if that is too much."""
    if under_way[ship] >= most:
        raise web.HTTPTooManyRequests(text="This ship asks for too much at once. Come again.\n")
    under_way[ship] += 1
    try:
        yield
    finally:
        under_way[ship] -= 1
        if not under_way[ship]:
            del under_way[ship]


async def _kept(call: Awaitable[T]) -> T:
    """What a store gives. Raises its refusal as the answer of the request; ChunksMissingError as it is."""
    try:
        return await call
    except ChunksMissingError:
        raise
    except MissingError as error:
        raise web.HTTPNotFound(text=f"{error}\n") from error
    except DamagedError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from error
    except NoRoomError as error:
        raise web.HTTPInsufficientStorage(text=f"{error}\n") from error
    except FilesStoreError as error:
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
