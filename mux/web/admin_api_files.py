"""Handlers of the admin API for attendees' files: what is kept, start over, archives, and deletion after the event.

Rules: nothing is deleted of whoever has a seat, unless forced: their ship would bring it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import structlog
from aiohttp import hdrs
from pydantic import BaseModel

from mux.core.events import FilesChanged, StartOverAsked, WishesWithdrawn
from mux.core.files import FilesView
from mux.core.model import ProjectName, UserId
from mux.core.views import FleetStatus
from mux.files.archive import Part, archive, folder_names, parts_of
from mux.files.base import Deleted, FilesStoreError, Snapshot
from mux.web.admin_api_deps import AdminDeps
from mux.web.admin_api_endpoint import ApiError, Call, Endpoint, NotFoundError, Scope, Streamed
from mux.web.admin_api_fleet import quoted
from mux.web.api_models import Done
from mux.web.api_models_files import (
    AllDeleted,
    AttendeeFiles,
    Files,
    FilesDeleted,
    FilesOf,
    FilesResetIn,
    SnapshotOut,
    StartedOverOut,
)
from ship_agent.protocol.snapshot import is_path

log = structlog.get_logger(__name__)


async def files(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """What is kept, attendee by attendee."""
    names = await _names(deps)
    seated = _seated(deps.engine.status(deps.clock()))
    kept_of = {user: deps.files.of_user(user) for user in await _owners(deps)}
    found = [
        AttendeeFiles(
            user=user,
            name=names.get(user, ""),
            seated=user in seated,
            snapshots=sum(each.kind == "snapshot" for each in kept),
            recovered=sum(each.kind == "recovered" for each in kept),
            newest_at=max((each.at for each in kept), default=None),
            size_bytes=await _size(deps, user),
        )
        for user, kept in kept_of.items()
    ]
    return Files(now=deps.clock(), attendees=sorted(found, key=lambda each: (each.name.casefold(), each.user)))


async def files_of(deps: AdminDeps, call: Call) -> BaseModel:
    """Every snapshot of an attendee, and what is being started over."""
    user, name = await _attendee(deps, call.path["user"])
    snapshots = [await _snapshot(deps, each) for each in deps.files.of_user(user)]
    views = deps.engine.files(user)
    return FilesOf(
        now=deps.clock(),
        user=user,
        name=name,
        seated=user in _seated(deps.engine.status(deps.clock())),
        size_bytes=await _size(deps, user),
        snapshots=snapshots,
        started_over=[shown for view in views if (shown := _started_over(view)) is not None],
    )


async def reset(deps: AdminDeps, call: Call) -> BaseModel:
    """Start files over."""
    body = call.expect(FilesResetIn)
    user, name = await _attendee(deps, call.path["user"])
    if body.path and not (body.project and is_path(body.path)):
        raise ApiError(422, "path_invalid", "`path` is a relative path in a project's files, percent-encoded")
    views = deps.engine.files(user)
    known = [view.project for view in views]
    if body.project and body.project not in known:
        raise NotFoundError("no_project", f"no project {quoted(body.project)}; there are {', '.join(known)}")
    held = [view.project for view in views if view.held and body.project in ("", view.project)]
    if not held:
        what = f"of {body.project} " if body.project else ""
        raise ApiError(
            409, "no_workspace", f"{quoted(name or user)} has no workspace {what}whose files could start over"
        )
    await deps.engine.submit(*(StartOverAsked(user, project, body.path) for project in held))
    what = "the file" if body.path else f"everything of {', '.join(held)}"
    return Done(text=f"{quoted(name or user)}: {what} is starting over; what was theirs is kept beside it.")


async def changed(deps: AdminDeps, call: Call) -> BaseModel:
    """Have open notebooks look at their files."""
    name, names = call.path["project"], [spec.name for spec in deps.engine.projects()]
    if name not in names:
        raise NotFoundError("no_project", f"no project {quoted(name)}; there are {', '.join(names)}")
    await deps.engine.submit(FilesChanged(ProjectName(name)))
    return Done(text="Open notebooks show their files as they are now; what has unsaved edits stays, and is told.")


async def archive_of(deps: AdminDeps, call: Call) -> Streamed:
    """An attendee's work."""
    user, name = await _attendee(deps, call.path["user"])
    parts = parts_of(deps.files, user)
    if not parts:
        raise NotFoundError("no_files", f"nothing is kept of {quoted(name or user)}")
    log.info("files downloaded", user=user, by=call.caller.name)
    return Streamed(archive(deps.files, parts), "work.zip")


async def archive_all(deps: AdminDeps, call: Call) -> Streamed:
    """Everybody's work, in a folder for each attendee."""
    names = await _names(deps)
    users = sorted(_by_user(deps.files.all()), key=lambda user: (names.get(user, "").casefold(), user))
    folders = folder_names((user, names.get(user, "")) for user in users)
    parts: list[Part] = [part for user in users for part in parts_of(deps.files, user, f"{folders[user]}/")]
    log.info("everybody's files downloaded", attendees=len(users), by=call.caller.name)
    return Streamed(archive(deps.files, parts), "everybody.zip")


async def delete(deps: AdminDeps, call: Call) -> BaseModel:
    """Delete what is kept of an attendee."""
    user, name = await _attendee(deps, call.path["user"])
    status = deps.engine.status(deps.clock())
    if user in _seated(status) and "force" not in call.flags:
        release = f"`mux seat release {quote(user)}` first, or say --force"
        raise ApiError(409, "has_seat", f"{quoted(name or user)} has a seat, from which more would come: {release}")
    return await _delete(deps, user, name, status)


async def delete_all(deps: AdminDeps, call: Call) -> BaseModel:
    """Delete what is kept of everybody."""
    status, names = deps.engine.status(deps.clock()), await _names(deps)
    users = sorted(await _owners(deps))
    seated = [user for user in users if user in _seated(status)]
    if seated and "force" not in call.flags:
        raise ApiError(
            409,
            "has_seat",
            f"{len(seated)} of them {'has a seat' if len(seated) == 1 else 'have seats'}, from which more would come: "
            "end the event with `mux fleet reap` first, or say --force",
        )
    return AllDeleted(deleted=[await _delete(deps, user, names.get(user, ""), status) for user in users])


async def _delete(deps: AdminDeps, user: UserId, name: str, status: FleetStatus) -> FilesDeleted:
    try:
        gone = await deps.files.delete(user) or Deleted()
    except FilesStoreError as error:
        raise _trouble(error) from error
    await deps.engine.submit(WishesWithdrawn(user))
    return FilesDeleted(
        user=user,
        name=name,
        snapshots=gone.snapshots,
        recovered=gone.recovered,
        size_bytes=gone.size_bytes,
        kept_by=[ship.id for ship in status.ships if user in ship.kept_of],
    )


async def _snapshot(deps: AdminDeps, snapshot: Snapshot) -> SnapshotOut:
    files: int | None = None
    size: int | None = None
    try:
        manifest = await deps.files.manifest(snapshot)
    except FilesStoreError:
        pass  # it is there and cannot be read: shown as such
    else:
        files = sum(entry.kind != "dir" for entry in manifest.entries)
        size = sum(entry.size for entry in manifest.entries)
    return SnapshotOut(
        id=snapshot.id, project=snapshot.project, kind=snapshot.kind, at=snapshot.at, files=files, size_bytes=size
    )


def _started_over(view: FilesView) -> StartedOverOut | None:
    if view.wish is None:
        return None
    ended = view.ended
    return StartedOverOut(
        project=view.project,
        path=view.wish.path,
        state="waiting" if ended is None else "done" if ended.done else "failed",
        detail=ended.detail if ended is not None else "",
        kept=ended.kept if ended is not None else "",
    )


async def _attendee(deps: AdminDeps, who: str) -> tuple[UserId, str]:
    """Somebody's id and name; of somebody who is no longer in the roster, the id. Raises NotFoundError.

    An id comes before a name: people choose names, and must not get in the way of what is kept of others.
    """
    entry = await deps.store.user(UserId(who))
    if entry is None and (deps.files.of_user(UserId(who)) or UserId(who) in await _owners(deps)):
        return UserId(who), ""
    entry = entry or await deps.store.find_user(who)
    if entry is not None:
        return entry.id, entry.name
    raise NotFoundError("user_unknown", f"nobody is called {quoted(who)}; `mux files list` shows whose files are kept")


async def _names(deps: AdminDeps) -> dict[UserId, str]:
    return {user.id: user.name for user in await deps.store.users()}


async def _owners(deps: AdminDeps) -> set[UserId]:
    try:
        return await deps.files.owners()
    except FilesStoreError as error:
        raise _trouble(error) from error


async def _size(deps: AdminDeps, user: UserId) -> int:
    try:
        return await deps.files.bytes_of(user)
    except FilesStoreError as error:
        raise _trouble(error) from error


def _trouble(error: FilesStoreError) -> ApiError:
    return ApiError(503, "files_unavailable", str(error), headers={hdrs.RETRY_AFTER: "2"})


def _seated(status: FleetStatus) -> set[UserId]:
    return {seat.user for ship in status.ships for seat in ship.seats if seat.user is not None}


def _by_user(snapshots: Iterable[Snapshot]) -> dict[UserId, list[Snapshot]]:
    found: dict[UserId, list[Snapshot]] = {}
    for each in snapshots:
        found.setdefault(each.user, []).append(each)
    return found


_ZIP_TYPE = "application/zip"
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/files", Scope.FILES, "What is kept of attendees' files", files, Files, tag="files"),
    Endpoint("GET", "/files/{user}", Scope.FILES, "Every snapshot of an attendee", files_of, FilesOf, tag="files"),
    Endpoint(
        "POST",
        "/files/{user}/reset",
        Scope.FILES,
        "Start a file, a project's files or everything over; what was the attendee's is kept beside",
        reset,
        Done,
        FilesResetIn,
        refusals=(409,),
        tag="files",
    ),
    Endpoint(
        "POST",
        "/projects/{project}/changed",
        Scope.FILES,
        "Have open notebooks look at files that somebody else has changed",
        changed,
        Done,
        tag="files",
    ),
    Endpoint(
        "GET",
        "/files/{user}/archive",
        Scope.FILES,
        "An attendee's work as one ZIP archive",
        archive_of,
        _ZIP_TYPE,
        tag="files",
    ),
    Endpoint(
        "GET",
        "/archive",
        Scope.FILES,
        "Everybody's work as one ZIP archive",
        archive_all,
        _ZIP_TYPE,
        tag="files",
    ),
    Endpoint(
        "DELETE",
        "/files/{user}",
        Scope.FILES,
        "Delete what is kept of an attendee's files",
        delete,
        FilesDeleted,
        flags={"force": "Also while they have a seat."},
        refusals=(409,),
        tag="files",
    ),
    Endpoint(
        "DELETE",
        "/files",
        Scope.FILES,
        "Delete what is kept of everybody's files",
        delete_all,
        AllDeleted,
        flags={"force": "Also of those who have a seat."},
        refusals=(409,),
        tag="files",
    ),
)
"""What the route table has of attendees' files."""
