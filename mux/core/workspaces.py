"""Workspaces: which should exist on a ship, what a report means for them, and where routes lead.

Free seats hold what the event file says, always: what failed or what has changed is replaced by a new incarnation. A
bound workspace is never replaced here; its ship restarts it on the same files.
"""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import Notify, Placement
from mux.core.failures import failed, forget_project, succeeded
from mux.core.lifecycles import workspace_lifecycle
from mux.core.model import (
    ProjectName,
    ProjectSpec,
    ReportedState,
    ShipId,
    ShipReport,
    ShipState,
    ShipWanted,
    UserId,
    WorkspaceId,
    WorkspaceReport,
    WorkspaceState,
)
from mux.core.rollout import spec_on
from mux.core.routes import RoutePort
from mux.core.ships import Kept, Seat, Ship, Workspace
from mux.core.wishes import give, has_ended
from mux.core.world import World

PORT_IN_USE = "port_in_use"
"""Reason that a ship gives when another program holds a workspace's port."""
PORT_MOVE_S = 1.0
"""Words about a port that come sooner after a move may still be about the port before."""
PORTS_RETRY_S = 30.0
"""Pause once every port of a ship was found taken; the other program may end."""


def prepare(world: World, ship: Ship, seat: Seat, spec: ProjectSpec) -> None:
    """Make a new incarnation of a project on a seat."""
    ports = ship.free_ports(spec.ports)
    if ports is None and ship.ports_taken:
        # What was found taken may be free by now; the ship will say if it is not.
        ship.ports_taken.clear()
        ports = ship.free_ports(spec.ports)
    if ports is None:
        if not ship.ports_told:
            ship.ports_told = True
            world.notify(
                Notify(
                    "error",
                    "ports_exhausted",
                    ship.id,
                    f"{ship.id} has no free port for {spec.name}: give ships a larger port range.",
                ),
                said_by=ship.id,
            )
        return
    ship.ports_told = False
    ship.incarnations += 1
    identity = WorkspaceId(f"{ship.id}.{seat.index}.{spec.name}.{ship.incarnations}")
    digest = spec_on(world, ship, spec).digest
    # The first workspace on a seat gives its name to what it shares with those that join it there. Whoever has the seat
    # next begins with none of them.
    shared = next((each.shared for each in seat.workspaces.values() if each.shared), identity)
    workspace = Workspace(
        identity,
        seat.index,
        spec.name,
        digest,
        ports[0],
        workspace_lifecycle(identity),
        ports=ports[1],
        shared=shared,
    )
    ship.workspaces[identity] = workspace
    seat.workspaces[spec.name] = workspace
    wanted_changed(world, ship)
    give(world, ship, workspace)


def drain(world: World, ship: Ship, workspace: Workspace) -> None:
    """Have a workspace stopped and its files destroyed."""
    workspace.life.to(WorkspaceState.DRAINING)
    workspace.healthy = False
    world.save_requests.pop(workspace.id, None)
    seat = ship.seats[workspace.seat]
    if seat.workspaces.get(workspace.project) is workspace:
        del seat.workspaces[workspace.project]
    wanted_changed(world, ship)


def keep(world: World, ship: Ship, workspace: Workspace, user: UserId, epoch: int) -> None:
    """Have a bound workspace stopped and its files kept, for an attendee who was moved away from it.

    Args:
        world: as everywhere.
        ship: where it is.
        workspace: bound or suspended.
        user: whose it was.
        epoch: of the assignment that ended.
    """
    if workspace.state is WorkspaceState.BOUND:
        workspace.life.to(WorkspaceState.SUSPENDED)
    workspace.healthy = False
    workspace.reported = None
    world.save_requests.pop(workspace.id, None)
    del ship.workspaces[workspace.id]
    del ship.seats[workspace.seat].workspaces[workspace.project]
    ship.kept[workspace.id] = Kept(workspace, user, epoch)
    wanted_changed(world, ship)


def suspend(world: World, ship: Ship, workspace: Workspace) -> None:
    """Have a bound workspace stopped, with its files kept, while it is still its attendee's."""
    workspace.life.to(WorkspaceState.SUSPENDED)
    workspace.healthy = False
    workspace.reported = None
    world.save_requests.pop(workspace.id, None)
    wanted_changed(world, ship)


def let_go(world: World, ship: Ship) -> None:
    """Have all that a ship keeps destroyed."""
    for kept in ship.kept.values():
        ship.workspaces[kept.workspace.id] = kept.workspace
    released, ship.kept = ship.kept, {}
    for kept in released.values():
        drain(world, ship, kept.workspace)


def empty(world: World, ship: Ship) -> None:
    """Drain what is on seats that are nobody's."""
    for seat in ship.seats:
        for workspace in list(seat.workspaces.values()) if seat.user is None else ():
            drain(world, ship, workspace)


def bind(world: World, ship: Ship, seat: Seat) -> None:
    """What is warm on an attendee's seat is bound; the rest is bound when it gets warm."""
    for workspace in seat.workspaces.values():
        if workspace.state is WorkspaceState.WARM:
            _bind(world, workspace)
            if seat.epoch > 1:
                # Files may be restored there first: no route before its ship reports it bound.
                workspace.healthy = False
    wanted_changed(world, ship)
    for workspace in seat.workspaces.values():
        give(world, ship, workspace)


def _bind(world: World, workspace: Workspace) -> None:
    workspace.life.to(WorkspaceState.BOUND)
    spec = world.projects.get(workspace.project)
    if spec is not None and spec.has_secrets:
        # Its ship restarts it with the attendee's secrets attached: no route before that is reported.
        workspace.healthy = False


def wanted_changed(world: World, ship: Ship) -> None:
    """Another generation: what is wanted of a ship has changed."""
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
                elif workspace.project in world.projects:
                    _name_ports(ship, workspace, world.projects[workspace.project])
        # Told anew even if nothing that the core knows has changed: values of secrets may have.
        wanted_changed(world, ship)
    for name in changed:
        forget_project(world, name)


def _name_ports(ship: Ship, workspace: Workspace, spec: ProjectSpec) -> None:
    """Give a workspace the further ports that its project has now; its next start takes them."""
    workspace.ports = {name: port for name, port in workspace.ports.items() if name in spec.ports}
    for name in spec.ports:
        if name not in workspace.ports and (port := ship.free_port()) is not None:
            workspace.ports[name] = port


def run_as(spec: ProjectSpec | None) -> ProjectSpec | None:
    """What a workspace's life depends on: a project without its words for people and for the proxies."""
    return spec and replace(spec, title="", image="", ports_with_prefix=())


def fill(world: World, ship: Ship) -> None:
    """Prepare what should be on a ship's seats and is not."""
    if ship.gone or ship.kept or ship.wanted is not ShipWanted.RUN or not ship.port_count:
        return
    for seat in ship.seats:
        if ship.draining and seat.user is None:
            continue
        for workspace in list(seat.workspaces.values()):
            if _outdated(world, ship, seat, workspace):
                drain(world, ship, workspace)
        for spec in world.projects.values() if seat.user not in world.leaving else ():
            if spec.start == "warm" and spec.name not in seat.workspaces:
                prepare(world, ship, seat, spec)


def _outdated(world: World, ship: Ship, seat: Seat, workspace: Workspace) -> bool:
    """A workspace that the event file in force does not have, or one of a free seat with another image."""
    spec = world.projects.get(workspace.project)
    if spec is None:
        return True
    return seat.user is None and (spec_on(world, ship, spec).digest != workspace.digest or spec.start == "on_use")


def heard(world: World, ship: Ship, report: ShipReport) -> None:
    """Take in what a ship says of its workspaces."""
    said = {workspace.id: workspace for workspace in report.workspaces}
    for workspace in list(ship.workspaces.values()):
        word = said.get(workspace.id)
        if word is not None:
            workspace.behind_s = word.behind_s
            if has_ended(workspace, word.started_over):
                workspace.started_over = word.started_over
                world.touch(ship)
        if workspace.state is WorkspaceState.SUSPENDED:
            # What a ship does not hold once it has reached what is wanted has nothing left to save.
            gone = word is None and report.generation >= ship.generation
            workspace.saved = workspace.saved or gone or (word is not None and word.saved)
        if workspace.state is WorkspaceState.DRAINING:
            if word is None and report.generation >= ship.generation:
                workspace.life.to(WorkspaceState.STOPPED)
                del ship.workspaces[workspace.id]
                world.touch(ship)
        elif word is None:
            _unsaid(world, ship, workspace, report)
        elif report.generation >= workspace.port_since and (
            report.generation >= workspace.digest_since or word.digest == workspace.digest
        ):
            if word != workspace.reported:
                _said(world, ship, workspace, word)
            if _port_taken(word):
                _move_port(world, ship, workspace, word)


def _unsaid(world: World, ship: Ship, workspace: Workspace, report: ShipReport) -> None:
    """A ship that has reached what is wanted, and does not hold it, has lost it: it will make it anew."""
    if report.generation >= ship.generation and workspace.healthy:
        _set_healthy(world, ship, workspace, healthy=False)
        workspace.reported = None


def _said(world: World, ship: Ship, workspace: Workspace, word: WorkspaceReport) -> None:
    before = workspace.reported
    workspace.reported = word
    world.touch(ship, save=False)
    _tell_memory_kills(world, ship, workspace, before.memory_kills if before is not None else 0)
    answers = word.state is ReportedState.HEALTHY or (
        word.state is ReportedState.UNHEALTHY and workspace.state is WorkspaceState.BOUND and workspace.healthy
    )
    seat = ship.seats[workspace.seat]
    spec = world.projects.get(workspace.project)
    if answers and seat.user is not None and word.epoch != seat.epoch and _waits_for_epoch(spec, seat):
        answers = False
    _set_healthy(world, ship, workspace, healthy=answers)
    new = before is None or before.state is not ReportedState.FAILED
    if word.state is ReportedState.FAILED and new and not _port_taken(word):
        failed(world, ship, workspace, word)


def _tell_memory_kills(world: World, ship: Ship, workspace: Workspace, before: int) -> None:
    """Tell organizers of kernels that were killed for memory: the 1st, 2nd, 4th and so on of a workspace."""
    kills = workspace.reported.memory_kills if workspace.reported is not None else 0
    if kills.bit_length() <= before.bit_length():
        return
    times = "once" if kills == 1 else f"{kills} times"
    text = (
        f"In {workspace.project} on {ship.id}, seat {workspace.seat}, a program was killed for memory, {times} by now; "
        f"the workspace goes on. If that was its kernel, the attendee lost what it held: raise `memory` of the "
        f"project, or have them load less."
    )
    world.notify(Notify("warning", "memory_kill", workspace.id, text), said_by=ship.id)


def _waits_for_epoch(spec: ProjectSpec | None, seat: Seat) -> bool:
    """Whether a workspace is restarted for its attendee: with secrets, or on files from the seat before."""
    return seat.epoch > 1 or (spec is not None and spec.has_secrets)


def _port_taken(word: WorkspaceReport) -> bool:
    return word.reason == PORT_IN_USE and word.state in (ReportedState.FAILED, ReportedState.RESTARTING)


def _move_port(world: World, ship: Ship, workspace: Workspace, word: WorkspaceReport) -> None:
    """Another program holds a port of a workspace: the same workspace, on the same files, gets others.

    Which one it is, the ship says in words for people only, so all are left. That is nobody's fault until every port of
    the ship has been found taken.
    """
    if world.now < workspace.port_stands_until:
        return
    ship.ports_taken |= {workspace.port, *workspace.ports.values()}
    ports = ship.free_ports(workspace.ports)
    if ports is None:
        ship.ports_taken.clear()
        workspace.port_stands_until = world.now + PORTS_RETRY_S
        failed(world, ship, workspace, word, projects_fault=False)
        return
    workspace.port, workspace.ports = ports
    workspace.port_stands_until = world.now + PORT_MOVE_S
    workspace.reported = None
    wanted_changed(world, ship)
    workspace.port_since = ship.generation


def _set_healthy(world: World, ship: Ship, workspace: Workspace, *, healthy: bool) -> None:
    if workspace.healthy == healthy:
        return
    workspace.healthy = healthy
    if healthy and workspace.swap_until:
        workspace.swap_until = 0.0
        world.deadlines.clear(("rollout", workspace.id))
    world.touch(ship)
    user = ship.seats[workspace.seat].user
    if healthy:
        succeeded(world, ship, workspace.project)
        if workspace.state is WorkspaceState.PREPARING:
            workspace.life.to(WorkspaceState.WARM)
        if workspace.state is WorkspaceState.WARM and user is not None:
            workspace.life.to(WorkspaceState.BOUND)
    elif workspace.state is WorkspaceState.WARM:
        workspace.life.to(WorkspaceState.PREPARING)


def replace_failed(world: World, subject: str) -> None:
    """The pause after failures of a project on a ship is over: drain what failed there, so that it is made anew."""
    ship_id, _, project = subject.partition("/")
    ship = world.ships.get(ShipId(ship_id))
    if ship is None or ship.gone:
        return
    for seat in ship.seats:
        workspace = seat.workspaces.get(ProjectName(project))
        if workspace is not None and workspace.failed and seat.user is None:
            drain(world, ship, workspace)
    world.touch(ship)


def placement(world: World, ship: Ship, workspace: Workspace) -> Placement | None:
    """Where a bound workspace's route leads, or None while it has none.

    One that gets another image keeps its route for as long as a swap may take, and requests wait.
    """
    if workspace.state is not WorkspaceState.BOUND:
        return None
    hold = not workspace.healthy and world.now < workspace.swap_until
    if not workspace.healthy and not hold:
        return None
    if ship.state in (ShipState.PARKED, ShipState.TERMINATED) or ship.wanted is not ShipWanted.RUN or not ship.host:
        return None
    spec = world.projects.get(workspace.project)
    whole = spec.ports_with_prefix if spec else ()
    ports = tuple(RoutePort(name, port, name in whole) for name, port in workspace.ports.items())
    return Placement(workspace.id, ship.host, workspace.port, hold, ports)
