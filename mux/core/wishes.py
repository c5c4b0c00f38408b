"""Wishes to start files over that no workspace has: their attendee was moved before a ship carried them out.

Such a wish follows its attendee to the next workspace of the project, and is told to that one's ship under a number of
its own. Below `workspaces`, which gives wishes to what it prepares and binds, and `attendance`, which takes them off.

Rules: of a project, an attendee has one wish or none, with a workspace or here; one that has ended, well or not, does
not follow. A ship that has carried it out without having said so may have it carried out once more on the next seat:
that finds the image's files, and keeps the attendee's beside once more.
"""

from __future__ import annotations

from mux.core.model import StartedOver, StartOver, UserId
from mux.core.ships import Ship, Workspace
from mux.core.world import World


def ended(workspace: Workspace) -> StartedOver | None:
    """How a workspace's wish has ended; None while it is still to be carried out, or if there is none."""
    wish, said = workspace.start_over, workspace.started_over
    return said if said is not None and wish is not None and said.number == wish.number else None


def has_ended(workspace: Workspace, said: StartedOver | None) -> bool:
    """Whether a ship says for the first time how a workspace's wish has ended: what it says later changes nothing."""
    wish = workspace.start_over
    return wish is not None and said is not None and said.number == wish.number and ended(workspace) is None


def take(world: World, user: UserId, workspace: Workspace) -> None:
    """An attendee is taken off a workspace: a wish that is still to be carried out waits for their next one."""
    wish = workspace.start_over
    if wish is not None and ended(workspace) is None:
        world.wishes.setdefault(user, {})[workspace.project] = wish.path
        world.changes.wishes[user] = None


def give(world: World, ship: Ship, workspace: Workspace) -> None:
    """Give a workspace the wish that waits for it, if its seat's attendee has one. What is wanted must be new already.

    Its ship restores the attendee's files first.
    """
    user = ship.seats[workspace.seat].user
    waiting = world.wishes.get(user) if user is not None else None
    if user is None or waiting is None or workspace.project not in waiting:
        return
    # A generation never comes twice on a ship, and so tells this wish from every other one there.
    workspace.start_over = StartOver(ship.generation, waiting.pop(workspace.project))
    if not waiting:
        del world.wishes[user]
    world.changes.wishes[user] = None
