"""Workspaces: which should exist on a ship, what a report means for them, and where routes lead.

Free seats hold what the event file says, always: what failed or what has changed is replaced by a new incarnation. A
bound workspace is never replaced here; its ship restarts it on the same files.
"""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import Notify, Placement
from mux.core.lifecycles import workspace_lifecycle
from mux.core.model import (
    ProjectName,
    ProjectSpec,
    ReportedState,
    ShipId,
    ShipReport,
    ShipState,
    ShipWanted,
    WorkspaceId,
    WorkspaceReport,
    WorkspaceState,
)
from mux.core.ships import Seat, Ship, Workspace
from mux.core.world import World

FAILING_SHIPS = 2
"""Ships on which a project must fail before it is the project's fault; in a fleet of one, one is enough."""
REPLACEMENTS_MAX = 3
"""Incarnations that may fail on one ship in a row before it is the ship's fault (unless it is the project's)."""
PORT_IN_USE = "port_in_use"
"""Reason that a ship gives when another program holds a workspace's port."""
REPLACE_BACKOFF_S = 5.0
REPLACE_BACKOFF_MAX_S = 300.0
"""Pause before a failed warm workspace is replaced: doubles with each failure in a row on the ship."""


def prepare(world: World, ship: Ship, seat: Seat, spec: ProjectSpec) -> None:
    """Make a new incarnation of a project on a seat."""
    port = ship.free_port()
    if port is None:
        world.notify(
            Notify(
                "error",
                "ports_exhausted",
                ship.id,
                f"{ship.id} has no free port for {spec.name}: give ships a larger port range.",
            )
        )
        return
    ship.incarnations += 1
    identity = WorkspaceId(f"{ship.id}.{seat.index}.{spec.name}.{ship.incarnations}")
    workspace = Workspace(identity, seat.index, spec.name, spec.digest, port, workspace_lifecycle(identity))
    ship.workspaces[identity] = workspace
    seat.workspaces[spec.name] = workspace
    _wanted_changed(world, ship)


def drain(world: World, ship: Ship, workspace: Workspace) -> None:
    """Have a workspace stopped and its files destroyed."""
    workspace.life.to(WorkspaceState.DRAINING)
    workspace.healthy = False
    seat = ship.seats[workspace.seat]
    if seat.workspaces.get(workspace.project) is workspace:
        del seat.workspaces[workspace.project]
    _wanted_changed(world, ship)


def bind(world: World, ship: Ship, seat: Seat) -> None:
    """What is warm on an attendee's seat is bound; the rest is bound when it gets warm."""
    for workspace in seat.workspaces.values():
        if workspace.state is WorkspaceState.WARM:
            _bind(world, workspace)
    _wanted_changed(world, ship)


def _bind(world: World, workspace: Workspace) -> None:
    workspace.life.to(WorkspaceState.BOUND)
    spec = world.projects.get(workspace.project)
    if spec is not None and spec.has_secrets:
        # Its ship restarts it with the attendee's secrets attached: no route before that is reported.
        workspace.healthy = False


def _wanted_changed(world: World, ship: Ship) -> None:
    ship.generation += 1
    ship.sent_at = 0.0
    world.touch(ship)


def seat_ready(world: World, seat: Seat) -> bool:
    """Whether every warm project that holds seats back is there."""
    return all(
        project.name in world.broken
        or ((workspace := seat.workspaces.get(project.name)) is not None and workspace.healthy)
        for project in world.projects.values()
        if project.start == "warm"
    )


def spec_changed(world: World, changed: set[ProjectName]) -> None:
    """Projects were changed, added or removed: free seats change at once, bound workspaces only when removed."""
    for ship in world.ships.values():
        if ship.gone:
            continue
        for seat in ship.seats:
            for workspace in list(seat.workspaces.values()):
                if seat.user is None and workspace.project in changed:
                    drain(world, ship, workspace)
        # Told anew even if nothing that the core knows has changed: values of secrets may have.
        _wanted_changed(world, ship)
    for name in changed:
        world.project_failures.pop(name, None)
        world.broken.pop(name, None)


def run_as(spec: ProjectSpec | None) -> ProjectSpec | None:
    """What a workspace's life depends on: a project without its words for people."""
    return spec and replace(spec, title="", image="")


def fill(world: World, ship: Ship) -> None:
    """Prepare what should be on a ship's seats and is not."""
    if ship.gone or ship.wanted is not ShipWanted.RUN or not ship.port_count:
        return
    for seat in ship.seats:
        if ship.draining and seat.user is None:
            continue
        for workspace in list(seat.workspaces.values()):
            if _outdated(world, seat, workspace):
                drain(world, ship, workspace)
        for spec in world.projects.values():
            if spec.start == "warm" and spec.name not in seat.workspaces:
                prepare(world, ship, seat, spec)


def _outdated(world: World, seat: Seat, workspace: Workspace) -> bool:
    """A workspace that the event file in force does not have, or one of a free seat with another image."""
    spec = world.projects.get(workspace.project)
    if spec is None:
        return True
    return seat.user is None and (spec.digest != workspace.digest or spec.start == "on_use")


def heard(world: World, ship: Ship, report: ShipReport) -> None:
    """Take in what a ship says of its workspaces."""
    said = {workspace.id: workspace for workspace in report.workspaces}
    for workspace in list(ship.workspaces.values()):
        word = said.get(workspace.id)
        if workspace.state is WorkspaceState.DRAINING:
            if word is None and report.generation >= ship.generation:
                workspace.life.to(WorkspaceState.STOPPED)
                del ship.workspaces[workspace.id]
                world.touch(ship)
        elif word is None:
            _unsaid(world, ship, workspace, report)
        elif word != workspace.reported:
            _said(world, ship, workspace, word)


def _unsaid(world: World, ship: Ship, workspace: Workspace, report: ShipReport) -> None:
    """A ship that has reached what is wanted, and does not hold it, has lost it: it will make it anew."""
    if report.generation >= ship.generation and workspace.healthy:
        _set_healthy(world, ship, workspace, healthy=False)
        workspace.reported = None


def _said(world: World, ship: Ship, workspace: Workspace, word: WorkspaceReport) -> None:
    before = workspace.reported
    workspace.reported = word
    world.touch(ship, save=False)
    answers = word.state is ReportedState.HEALTHY or (
        word.state is ReportedState.UNHEALTHY and workspace.state is WorkspaceState.BOUND and workspace.healthy
    )
    seat = ship.seats[workspace.seat]
    spec = world.projects.get(workspace.project)
    if answers and spec is not None and spec.has_secrets and seat.user is not None and word.epoch != seat.epoch:
        answers = False
    _set_healthy(world, ship, workspace, healthy=answers)
    if word.reason == PORT_IN_USE and workspace.state is WorkspaceState.BOUND:
        _move_port(world, ship, workspace)
    if word.state is ReportedState.FAILED and (before is None or before.state is not ReportedState.FAILED):
        _failed(world, ship, workspace, word)


def _move_port(world: World, ship: Ship, workspace: Workspace) -> None:
    """Another program holds a bound workspace's port: the same workspace, on the same files, gets another one."""
    port = ship.free_port()
    if port is not None:
        # Counted like an incarnation, so that the rotation goes on instead of coming back to the taken port.
        ship.incarnations += 1
        workspace.port = port
        _wanted_changed(world, ship)


def _set_healthy(world: World, ship: Ship, workspace: Workspace, *, healthy: bool) -> None:
    if workspace.healthy == healthy:
        return
    workspace.healthy = healthy
    world.touch(ship)
    user = ship.seats[workspace.seat].user
    if healthy:
        ship.replaced = 0
        _succeeded(world, ship.id, workspace.project)
        if workspace.state is WorkspaceState.PREPARING:
            workspace.life.to(WorkspaceState.WARM)
        if workspace.state is WorkspaceState.WARM and user is not None:
            workspace.life.to(WorkspaceState.BOUND)
    elif workspace.state is WorkspaceState.WARM:
        workspace.life.to(WorkspaceState.PREPARING)


def _failed(world: World, ship: Ship, workspace: Workspace, word: WorkspaceReport) -> None:
    """A ship gave up on a workspace: tell it, find whose fault it is, replace it if it is nobody's yet."""
    what = word.detail or word.reason or "failed"
    world.notify(
        Notify(
            "warning",
            "workspace_failed",
            workspace.id,
            f"{workspace.project} on {ship.id}, seat {workspace.seat}: {what}",
            detail=word.log_tail,
        )
    )
    world.project_failures.setdefault(workspace.project, {})[ship.id] = what
    judge(world, workspace.project)
    if ship.seats[workspace.seat].user is not None:
        return
    ship.replaced += 1
    if workspace.project not in world.broken and ship.replaced >= REPLACEMENTS_MAX:
        ship.failed = f"{workspace.project} failed {ship.replaced} times here: {what}"
        world.touch(ship)
    pause = min(REPLACE_BACKOFF_S * 2 ** (ship.replaced - 1), REPLACE_BACKOFF_MAX_S)
    world.deadlines.set(("replace", ship.id), world.now + pause)


def replace_failed(world: World, ship_id: ShipId) -> None:
    """The pause after failures on a ship is over: drain what failed there, so that it is made anew."""
    ship = world.ships.get(ship_id)
    if ship is None or ship.gone:
        return
    for seat in ship.seats:
        for workspace in list(seat.workspaces.values()):
            if workspace.failed and seat.user is None:
                drain(world, ship, workspace)
    world.touch(ship)


def judge(world: World, project: ProjectName) -> None:
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
        )
    )
    for ship in world.ships.values():
        world.touch(ship, save=False)


def _succeeded(world: World, ship: ShipId, project: ProjectName) -> None:
    failures = world.project_failures.get(project)
    if failures is not None:
        failures.pop(ship, None)
        if not failures:
            del world.project_failures[project]
    if world.broken.pop(project, None) is not None:
        world.notify(Notify("info", "project_mended", project, f"{project} starts again and holds seats back again."))
        for other in world.ships.values():
            world.touch(other, save=False)


def placement(ship: Ship, workspace: Workspace) -> Placement | None:
    """Where a bound workspace's route leads, or None while it has none."""
    if workspace.state is not WorkspaceState.BOUND or not workspace.healthy:
        return None
    if ship.state in (ShipState.PARKED, ShipState.TERMINATED) or ship.wanted is not ShipWanted.RUN or not ship.host:
        return None
    return Placement(workspace.id, ship.host, workspace.port)
