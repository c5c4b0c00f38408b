"""Whether attendees' files can be kept apart from their ships, as the ships say: told when they cannot for a while.

Rules: organizers get one warning for each reason, however many ships it concerns, and one word when it concerns none
any more. Nobody is moved or refused for it: whoever works there keeps working. Not stored: ships say it again.
"""

from __future__ import annotations

from collections.abc import Container

from mux.core.commands import Notify
from mux.core.files import HOLDS_FILES
from mux.core.model import ShipReport, WorkspaceId
from mux.core.ships import Ship, Workspace
from mux.core.world import Unkept, World

TOLD_AFTER_S = 30.0
"""A store that is started anew, or an answer that is lost, is not worth a word: ships try again every few seconds."""
PAUSE_S = 60.0
"""Between two warnings of one ship: it says what it likes."""


def reported(world: World, ship: Ship, report: ShipReport) -> None:
    """Take in what of a ship's files cannot be kept, and why."""
    before = world.unkept.pop(ship.id, {})
    if not before and not world.unkept_told and not any(word.unkept for word in report.workspaces):
        return
    current = {
        word.id: Unkept(word.unkept, before[word.id].since if word.id in before else world.now)
        for word in report.workspaces
        if word.unkept and _holds_files(ship, word.id)
    }
    if current:
        world.unkept[ship.id] = current
    _tell(world, ship, {each.why for each in current.values() if world.now - each.since >= TOLD_AFTER_S})


def unkept_since(world: World, ship: Ship, workspace: Workspace | None, now: float) -> float:
    """Since when an attendee's files cannot be kept, in seconds since the epoch; 0 where there is nothing to tell."""
    found = world.unkept.get(ship.id, {}).get(workspace.id) if workspace is not None else None
    return found.since if found is not None and now - found.since >= TOLD_AFTER_S else 0.0


def _holds_files(ship: Ship, identity: WorkspaceId) -> bool:
    workspace = ship.workspaces.get(identity)
    return workspace is not None and workspace.state in HOLDS_FILES


def _tell(world: World, ship: Ship, reasons: Container[str]) -> None:
    """Bring what is told up to date with what a ship says."""
    for why in {each.why: None for each in world.unkept.get(ship.id, {}).values() if each.why in reasons}:
        if why not in world.unkept_told:
            if world.now < world.unkept_warned.get(ship.id, -PAUSE_S) + PAUSE_S:
                continue
            world.unkept_warned[ship.id] = world.now
            _warn(world, ship, why)
        world.unkept_told.setdefault(why, {})[ship.id] = None
    for why, ships in list(world.unkept_told.items()):
        if why not in reasons:
            ships.pop(ship.id, None)
        if not ships:
            del world.unkept_told[why]
            if ship.id not in world.unkept:
                text = f"Attendees' files are kept apart from their ships again. It was: {why.rstrip('.')}."
                world.notify(Notify("info", "files_kept_again", ship.id, text), said_by=ship.id)


def _warn(world: World, ship: Ship, why: str) -> None:
    text = (
        f"What attendees change on {ship.id} is not kept apart from it: {why.rstrip('.')}. It stays there, and is sent "
        f"once that works; a ship that is lost before takes it along. Of other ships with this trouble nothing is said."
    )
    world.notify(Notify("warning", "files_not_kept", ship.id, text), said_by=ship.id)
