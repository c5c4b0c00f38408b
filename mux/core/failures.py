"""Whose fault a failed workspace is: nobody's yet, its project's, or its ship's.

Rules: a project that fails on several ships is at fault, stops holding seats back, and is mended by its first success.
Otherwise a ship on which workspaces keep failing is. What attendees do to workspaces of theirs is neither's fault, and
failures of a project that is known to be at fault are not held against any ship.
"""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import Notify
from mux.core.model import ProjectName, ShipState, WorkspaceReport, WorkspaceState
from mux.core.rollout import FAILURES_KEPT_MAX, RolloutState
from mux.core.ships import Ship, Workspace
from mux.core.world import World

FAILING_SHIPS = 2
"""Ships on which a project must fail before it is the project's fault; in a fleet of one, one is enough."""
REPLACEMENTS_MAX = 3
"""Incarnations that may fail on one ship in a row before it is the ship's fault (unless it is the project's)."""
RESTORE_FAILED = "restore_failed"
"""The reason of a workspace whose attendee's files cannot be had: no image is at fault for that."""
REPLACE_BACKOFF_S = 5.0
REPLACE_BACKOFF_MAX_S = 300.0
"""Pause before a failed warm workspace is replaced: doubles with each failure of its project in a row on the ship."""


def failed(
    world: World, ship: Ship, workspace: Workspace, word: WorkspaceReport, *, projects_fault: bool = True
) -> None:
    """A ship gave up on a workspace: tell it, find whose fault it is, replace it if it is nobody's yet.

    ``projects_fault``: whether it can be the project's at all.
    """
    what = word.detail or word.reason or "failed"
    projects_fault = projects_fault and word.reason != RESTORE_FAILED
    project = workspace.project
    world.notify(
        Notify(
            "warning",
            "workspace_failed",
            workspace.id,
            f"{project} on {ship.id}, seat {workspace.seat}: {what}",
            detail=word.log_tail,
        ),
        said_by=ship.id,
    )
    if projects_fault and _rollouts_fault(world, ship, workspace, what):
        return
    if projects_fault and workspace.state is WorkspaceState.PREPARING:
        world.project_failures.setdefault(project, {})[ship.id] = what
        _judge(world, ship, project)
    if ship.seats[workspace.seat].user is not None:
        return
    in_a_row = ship.failures[project] = ship.failures.get(project, 0) + 1
    counted = sum(count for name, count in ship.failures.items() if name not in world.broken)
    if counted >= REPLACEMENTS_MAX and not ship.failed:
        ship.failed = f"{project} failed, {counted} failures in a row here: {what}"
        world.touch(ship)
    pause = min(REPLACE_BACKOFF_S * 2.0 ** min(in_a_row - 1, 30), REPLACE_BACKOFF_MAX_S)
    world.deadlines.set(replace_key(ship, project), world.now + pause)


def _rollouts_fault(world: World, ship: Ship, workspace: Workspace, what: str) -> bool:
    """A free workspace of an image that is being rolled out: that counts against the rollout, not against the ship."""
    rollout = world.rollouts.get(workspace.project)
    if rollout is None or rollout.state is not RolloutState.RUNNING or rollout.digest != workspace.digest:
        return False
    if ship.id not in rollout.all_proved or rollout.digest == rollout.was_digest:
        return False
    if ship.seats[workspace.seat].user is not None:
        return False
    failures = (*rollout.failed, (workspace.id, what))[:FAILURES_KEPT_MAX]
    world.rollouts[workspace.project] = replace(rollout, failed=failures)
    world.deadlines.set(replace_key(ship, workspace.project), world.now + REPLACE_BACKOFF_S)
    return True


def replace_key(ship: Ship, project: ProjectName) -> tuple[str, str]:
    """The deadline at which failed workspaces of a project are made anew on a ship."""
    return ("replace", f"{ship.id}/{project}")


def succeeded(world: World, ship: Ship, project: ProjectName) -> None:
    """A workspace answers: the ship can, and the project can."""
    ship.failures.clear()
    if ship.failed and not ship.gone and ship.state in (ShipState.AVAILABLE, ShipState.RUNNING):
        ship.failed = ""
        world.notify(Notify("info", "ship_mended", ship.id, f"{ship.id} starts workspaces again."), said_by=ship.id)
        world.touch(ship)
    failures = world.project_failures.get(project)
    if failures is not None:
        for other_id in [each for each in failures if each == ship.id or each not in world.ships]:
            del failures[other_id]
    mended = world.broken.pop(project, None) is not None
    if mended or not failures:
        # Old failures elsewhere are past as well, or the next single one would make it broken again.
        world.project_failures.pop(project, None)
    if mended:
        text = f"{project} starts again and holds seats back again."
        world.notify(Notify("info", "project_mended", project, text), said_by=ship.id)
        for other in world.ships.values():
            other.failures.pop(project, None)
            world.touch(other, save=False)


def forget_project(world: World, project: ProjectName) -> None:
    """A project was changed or removed: its failures are past."""
    world.project_failures.pop(project, None)
    world.broken.pop(project, None)
    for ship in world.ships.values():
        ship.failures.pop(project, None)


def forget_ship(world: World, ship: Ship) -> None:
    """A ship has ended: its failures say nothing any more.

    But for those that it was ended for: if another ship fails in the same way after it, both are evidence against the
    project. Else a project that fails wherever it is started anew would have ships blamed and replaced one by one.
    """
    for project, failures in list(world.project_failures.items()):
        if ship.failures.get(project) and project not in world.broken:
            continue
        failures.pop(ship.id, None)
        if not failures:
            del world.project_failures[project]
    for project in ship.failures:
        world.deadlines.clear(replace_key(ship, project))
    ship.failures.clear()


def _judge(world: World, last: Ship, project: ProjectName) -> None:
    """A project that fails on several ships stops holding seats back, and is reported."""
    failures = world.project_failures.get(project, {})
    enough = min(FAILING_SHIPS, max(1, world.tally.ships))
    if len(failures) < enough or project in world.broken:
        return
    why = next(reversed(failures.values()))
    world.broken[project] = why
    world.notify(
        Notify(
            "error",
            "project_broken",
            project,
            f"{project} fails on {len(failures)} ships and no longer holds seats back: {why}",
        ),
        said_by=last.id,
    )
    for ship in world.ships.values():
        world.touch(ship, save=False)
