"""Attendees' files as far as the core decides about them: wishes to start over, and how they ended.

A wish belongs to a workspace and stands in what its ship is told until another one takes its place; the ship carries it
out once and reports how that ended. What is in files, and where they are kept, is nothing that the core knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from mux.core.events import StartOverAsked
from mux.core.model import ProjectName, StartedOver, StartOver, UserId, WorkspaceState
from mux.core.ships import Workspace
from mux.core.workspaces import wanted_changed
from mux.core.world import World

PATH_CHARS_MAX = 4096
"""Of a wish's path, as the protocol bounds it: PATH_MAX of Linux."""
HOLDS_FILES = (WorkspaceState.BOUND, WorkspaceState.SUSPENDED)
"""States in which a workspace has an attendee's files."""


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


def files_views(world: World, user: UserId) -> tuple[FilesView, ...]:
    """An attendee's files, project by project in the order of the event file."""
    found = world.seat_of(user)
    workspaces = found[1].workspaces if found is not None else {}
    return tuple(_view(name, workspaces.get(name)) for name in world.projects)


def _view(project: ProjectName, workspace: Workspace | None) -> FilesView:
    if workspace is None or workspace.state not in HOLDS_FILES:
        return FilesView(project)
    wish, ended = workspace.start_over, workspace.started_over
    ours = ended is not None and wish is not None and ended.number == wish.number
    return FilesView(project, held=True, wish=wish, ended=ended if ours else None)
