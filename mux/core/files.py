"""Attendees' files as far as the core decides about them: wishes to start over, and how old files are after a move.

A wish belongs to a workspace and stands in what its ship is told until another one takes its place; the ship carries it
out once and reports how that ended. One whose attendee was moved before that follows them (`wishes`). What somebody's
projects share is kept like a project's files, under a name that no project has. What is in files, and where they are
kept, is nothing that the core knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mux.core.commands import Behind
from mux.core.events import StartOverAsked, WishesWithdrawn
from mux.core.model import ProjectName, StartedOver, StartOver, UserId, WorkspaceState
from mux.core.ships import Ship, Workspace
from mux.core.wishes import ended
from mux.core.workspaces import wanted_changed
from mux.core.world import World

PATH_CHARS_MAX = 4096
"""Of a wish's path, as the protocol bounds it: PATH_MAX of Linux."""
BEHIND_SHOWN_S = 3_600.0
"""How long somebody is told that they were moved to older files."""
SHARED = "shared."
"""First part of the names under which shared directories are kept: names of projects have no dot."""
HOLDS_FILES = (WorkspaceState.BOUND, WorkspaceState.SUSPENDED)
"""States in which a workspace may hold an attendee's files: before, nobody was ever led to it."""


@dataclass(frozen=True, slots=True)
class FilesView:
    """An attendee's files of one project.

    Args:
        project: which.
        held: a workspace of theirs holds them now.
        wish: the last wish to start over; None if there was none.
        ended: how that ended; None while it is still to be carried out.
    """

    project: ProjectName
    held: bool = False
    wish: StartOver | None = None
    ended: StartedOver | None = None


def shared_files(name: str) -> ProjectName:
    """What the files of a shared directory are kept as, as if they were a project's."""
    return ProjectName(f"{SHARED}{name}")


def start_over(world: World, event: StartOverAsked) -> None:
    """An attendee or an organizer wants files to be the image's again. Without a workspace there is nothing to do."""
    found = world.seat_of(event.user)
    if found is None or len(event.path) > PATH_CHARS_MAX:
        return
    ship, seat = found
    workspace = seat.workspaces.get(event.project)
    if workspace is None or workspace.state not in HOLDS_FILES:
        return
    wanted_changed(world, ship)
    # A generation never comes twice on a ship, and so tells this wish from every other one there.
    workspace.start_over = StartOver(ship.generation, event.path)


def withdraw(world: World, event: WishesWithdrawn) -> None:
    """No wish of somebody's stands any more, waiting or with a workspace; nor is anything told of their files."""
    _tell(world, event.user, {})
    if world.wishes.pop(event.user, None) is not None:
        world.changes.wishes[event.user] = None
    found = world.seat_of(event.user)
    for workspace in found[1].workspaces.values() if found is not None else ():
        if found is not None and workspace.start_over is not None and ended(workspace) is None:
            wanted_changed(world, found[0])
            workspace.start_over = None


def snapshot_lag_s(world: World, ship: Ship, workspace: Workspace) -> float:
    """What would be missing of an attendee's files if their ship were lost now, in seconds of their work; 0 if nothing.

    As `left` has it: how much older the newest snapshot is than the last change that the ship told of, and for how long
    nothing has been heard of the ship, if that is longer than a heartbeat may take.
    """
    return workspace.behind_s + _unheard_s(world, ship)


def left(world: World, ship: Ship, user: UserId, workspace: Workspace) -> None:
    """An attendee is taken off a workspace: remember how old their snapshot is, to tell them when they come back."""
    unheard_s = _unheard_s(world, ship)
    ages = dict(world.behind.get(user, {}))
    ages.pop(workspace.project, None)
    if workspace.behind_s > 0 or unheard_s > 0:
        ages[workspace.project] = Behind(workspace.behind_s, unheard_s, world.now)
    _tell(world, user, ages)


def _unheard_s(world: World, ship: Ship) -> float:
    heard_at = ship.last_seen if ship.last_seen is not None else world.started
    return max(0.0, world.now - heard_at) if ship.unreachable else 0.0


def behind(world: World, user: UserId, project: ProjectName, now: float) -> Behind | None:
    """How old the files are that an attendee was moved to, for a while after it."""
    found = world.behind.get(user, {}).get(project)
    return found if found is not None and now < _told_until(found) else None


def restore(world: World, stored: Mapping[UserId, Mapping[ProjectName, Behind]]) -> None:
    """Go on telling how old files are after a restart of the mux."""
    for user, ages in stored.items():
        world.behind[user] = dict(ages)
        _tell_until(world, user)


def told_long_enough(world: World, user: UserId) -> None:
    """Forget how old somebody's files were, as far as they have been told for long enough."""
    ages = world.behind.get(user, {})
    _tell(world, user, {project: age for project, age in ages.items() if world.now < _told_until(age)})


def _tell(world: World, user: UserId, ages: dict[ProjectName, Behind]) -> None:
    """Have this told to somebody, and nothing else, whatever becomes of the mux."""
    if ages == world.behind.get(user, {}):
        return
    world.changes.behind[user] = None
    if ages:
        world.behind[user] = ages
        _tell_until(world, user)
    else:
        del world.behind[user]
        world.deadlines.clear(("behind", user))


def _tell_until(world: World, user: UserId) -> None:
    world.deadlines.set(("behind", user), min(map(_told_until, world.behind[user].values())))


def _told_until(age: Behind) -> float:
    return age.at + BEHIND_SHOWN_S


def files_views(world: World, user: UserId) -> tuple[FilesView, ...]:
    """An attendee's files, project by project in the order of the event file."""
    found = world.seat_of(user)
    workspaces = found[1].workspaces if found is not None else {}
    return tuple(_view(name, workspaces.get(name)) for name in world.projects)


def _view(project: ProjectName, workspace: Workspace | None) -> FilesView:
    if workspace is None or workspace.state not in HOLDS_FILES:
        return FilesView(project)
    return FilesView(project, held=True, wish=workspace.start_over, ended=ended(workspace))
