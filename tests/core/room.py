"""A small room around the core for tests: a provider, ships and a store in memory, and time as a number.

`Room.do` hands events to the core, checks every invariant, keeps what was to be persisted and remembers effects; the
room then answers effects as the world would, when it is told to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mux.core.commands import (
    AcceptLink,
    Behind,
    CloseLink,
    Command,
    ForgetAssignment,
    ForgetRollout,
    ForgetSession,
    ForgetWaiting,
    LaunchShip,
    ListMachines,
    Notify,
    ParkShip,
    Publish,
    RefuseLink,
    SaveAssignment,
    SaveBehind,
    SaveControls,
    SaveRollout,
    SaveSession,
    SaveShip,
    SaveSpend,
    SaveWaiting,
    SaveWishes,
    SendDesired,
    ShipRecord,
    StartShip,
    TerminateShip,
)
from mux.core.events import (
    Event,
    LaunchFailed,
    LaunchSucceeded,
    LinkLost,
    LoggedIn,
    MachineCallEnded,
    MachineEnded,
    MachinesListed,
    ShipDialed,
    ShipReported,
)
from mux.core.fleet import Fleet
from mux.core.model import (
    Assignment,
    Desired,
    DesiredWorkspace,
    EventSpec,
    FleetSpec,
    LinkId,
    Machine,
    MachineStatus,
    ProjectName,
    ProjectSpec,
    ReportedState,
    Session,
    SessionHash,
    ShipId,
    ShipReport,
    ShipState,
    StartedOver,
    UserId,
    Waiting,
    WorkspaceId,
    WorkspaceReport,
)
from mux.core.rollout import Rollout
from mux.core.spend import Meter

DIGEST = "sha256:" + "0" * 64


def project(name: str = "intro", **changes: object) -> ProjectSpec:
    """A project; ``changes`` are fields of `ProjectSpec`."""
    return replace(ProjectSpec(ProjectName(name), f"images/{name}", DIGEST), **changes)  # type: ignore[arg-type]


def event_spec(
    *projects: ProjectSpec, attendees: int = 4, seats_per_ship: int = 2, ready_seats: int = 1, **fleet: float
) -> EventSpec:
    """An event; ``fleet`` are further fields of `FleetSpec`."""
    return EventSpec(
        "room",
        projects or (project(),),
        FleetSpec(attendees, seats_per_ship, ready_seats=ready_seats, **fleet),  # type: ignore[arg-type]
    )


@dataclass
class Kept:
    """A store in memory: carries out persist commands, and enforces what a store enforces."""

    ships: dict[ShipId, ShipRecord] = field(default_factory=dict)
    assignments: dict[UserId, Assignment] = field(default_factory=dict)
    epochs: dict[UserId, int] = field(default_factory=dict)
    sessions: dict[SessionHash, Session] = field(default_factory=dict)
    waiting: dict[UserId, Waiting] = field(default_factory=dict)
    controls: SaveControls | None = None
    meter: Meter | None = None
    rollouts: dict[ProjectName, Rollout] = field(default_factory=dict)
    wishes: dict[UserId, dict[ProjectName, str]] = field(default_factory=dict)
    behind: dict[UserId, dict[ProjectName, Behind]] = field(default_factory=dict)

    def carry_out(self, command: Command) -> bool:  # noqa: PLR0912 - one branch per command
        """True if it was one to persist."""
        match command:
            case SaveShip(ship):
                self.ships[ship.id] = ship
            case SaveAssignment(assignment):
                others = {(a.ship, a.seat) for user, a in self.assignments.items() if user != assignment.user}
                assert (assignment.ship, assignment.seat) not in others, "a seat would have two attendees"
                self.assignments[assignment.user] = assignment
                self.epochs[assignment.user] = assignment.epoch
            case ForgetAssignment(user):
                self.assignments.pop(user, None)
            case SaveSession(session):
                self.sessions[session.hash] = session
            case ForgetSession(session_hash):
                self.sessions.pop(session_hash, None)
            case SaveWaiting(waiting):
                self.waiting[waiting.user] = waiting
            case ForgetWaiting(user):
                self.waiting.pop(user, None)
            case SaveControls():
                self.controls = command
            case SaveSpend(meter):
                self.meter = meter
            case SaveRollout(rollout):
                self.rollouts[rollout.project] = rollout
            case ForgetRollout(project):
                self.rollouts.pop(project, None)
            case SaveWishes(user, paths):
                self.wishes.pop(user, None)
                if paths:
                    self.wishes[user] = dict(paths)
            case SaveBehind(user, ages):
                self.behind.pop(user, None)
                if ages:
                    self.behind[user] = dict(ages)
            case _:
                return False
        return True

    def restored(self, spec: EventSpec, now: float) -> Fleet:
        """A core that starts from what is kept."""
        return Fleet.restored(
            spec,
            now,
            ships=self.ships.values(),
            assignments=self.assignments.values(),
            epochs=self.epochs,
            sessions=self.sessions.values(),
            waiting=self.waiting.values(),
            controls=self.controls,
            meter=self.meter,
            rolling=self.rollouts.values(),
            wishes=self.wishes,
            behind=self.behind,
        )


@dataclass
class SimulatedShip:
    """A machine with an agent that makes true what it is told, when it is let."""

    machine: Machine
    boot: int = 1
    key: str = ""
    link: LinkId | None = None
    accepted: bool = False
    seq: int = 0
    desired: Desired | None = None
    failing: frozenset[ProjectName] = frozenset()
    taken: frozenset[int] = frozenset()
    bad_digests: frozenset[str] = frozenset()
    slow_digests: frozenset[str] = frozenset()
    bad_reason: str = "exited"
    slow_at: str = ""
    behind_s: float = 0.0
    unkept: str = ""
    saves: bool = True
    running: dict[WorkspaceId, WorkspaceReport] = field(default_factory=dict)
    quiet: dict[WorkspaceId, float] = field(default_factory=dict)
    carried_out: set[str] = field(default_factory=set)

    def settle(self) -> None:
        """Make true what is desired."""
        if self.desired is None:
            return
        self.running = {workspace.id: self._outcome(workspace) for workspace in self.desired.workspaces}

    def _outcome(self, workspace: DesiredWorkspace) -> WorkspaceReport:
        state, reason, detail = ReportedState.HEALTHY, "", ""
        if workspace.wanted == "suspended":
            state = ReportedState.STOPPED
        elif self.taken & {workspace.port, *workspace.ports.values()}:
            # As an agent does: a bound one is tried on and on, a warm one is given up.
            bound = workspace.wanted == "bound"
            state, reason = (ReportedState.RESTARTING if bound else ReportedState.FAILED), "port_in_use"
        elif workspace.project in self.failing or workspace.digest in self.bad_digests:
            state, reason = ReportedState.FAILED, self.bad_reason
        elif workspace.digest in self.slow_digests:
            state, detail = ReportedState.STARTING, self.slow_at
        wish = workspace.start_over if workspace.wanted != "suspended" else None
        if wish is not None:
            self.carried_out.add(wish.path)
        return WorkspaceReport(
            workspace.id,
            state,
            reason=reason,
            detail=detail,
            epoch=workspace.epoch,
            digest=workspace.digest,
            behind_s=self.behind_s,
            unkept=self.unkept,
            saved=self.saves and workspace.wanted == "suspended",
            started_over=None if wish is None else StartedOver(wish.number, done=True, kept="before-reset"),
        )

    def report(self) -> ShipReport:
        """What it says next."""
        self.seq += 1
        generation = self.desired.generation if self.desired else 0
        return ShipReport(self.seq, generation, "", tuple(self.running.values()), quiet=tuple(self.quiet.items()))


class Room:
    """The core, and a world around it that is moved by hand."""

    def __init__(self, spec: EventSpec | None = None) -> None:
        self.spec = spec or event_spec()
        self.now = 1_000.0
        self.kept = Kept()
        self.fleet = self.kept.restored(self.spec, self.now)
        self.pending: list[Command] = []
        self.notices: list[Notify] = []
        self.refused: list[RefuseLink] = []
        self.machines: dict[ShipId, SimulatedShip] = {}
        self.links = 0
        self.made = 0
        self.launches_fail = False
        self.machines_fail = False
        self.carried_out: set[str] = set()
        self.do()

    def do(self, *events: Event, after: float = 0.0) -> list[Command]:
        """Let ``after`` seconds pass, then hand events to the core."""
        self.now += after
        commands = self.fleet.handle(*events, now=self.now)
        self.fleet.validate()
        for command in commands:
            if not self.kept.carry_out(command) and not isinstance(command, Publish):
                self.pending.append(command)
        return commands

    def log_in(self, *names: str, expires_in: float = 1e6) -> list[Command]:
        """Everybody logs in, in one batch."""
        return self.do(*(LoggedIn(UserId(n), SessionHash(f"session of {n}"), self.now + expires_in) for n in names))

    def answer(self) -> bool:
        """Carry out the effects that are waiting. False when there were none."""
        effects, self.pending = self.pending, []
        for effect in effects:
            self._answer(effect)
        return bool(effects)

    def _answer(self, effect: Command) -> None:  # noqa: PLR0912 - one branch per effect
        match effect:
            case LaunchShip(ship):
                if self.launches_fail:
                    self.do(LaunchFailed(ship, "no capacity"))
                    return
                # Never the range of another machine that is there.
                first = 20_000 + 64 * self.made
                self.made += ship not in self.machines
                known = self.machines.setdefault(
                    ship,
                    SimulatedShip(
                        Machine(ship, MachineStatus.RUNNING, "127.0.0.1", first, 64),
                        key=f"key of {ship}",
                        carried_out=self.carried_out,
                    ),
                )
                self.do(LaunchSucceeded(ship, known.machine))
                if self.machines_fail:
                    del self.machines[ship]
                    self.do(MachineEnded(ship, "its machine ended at once"))
            case StartShip(ship) if ship not in self.machines:
                self.do(MachineCallEnded(ship, "there is no such machine"))
            case ParkShip(ship) if ship not in self.machines:
                self.do(MachineCallEnded(ship))
            case StartShip(ship):
                known = self.machines[ship]
                known.machine = replace(known.machine, status=MachineStatus.RUNNING)
                known.boot += 1
                known.running.clear()
                self.do(MachineCallEnded(ship))
            case ParkShip(ship):
                known = self.machines[ship]
                known.machine = replace(known.machine, status=MachineStatus.STOPPED)
                known.link, known.accepted = None, False
                self.do(MachineCallEnded(ship))
            case TerminateShip(ship):
                self.machines.pop(ship, None)
                self.do(MachineCallEnded(ship))
            case ListMachines():
                self.do(MachinesListed({ship: known.machine for ship, known in self.machines.items()}, self.now))
            case AcceptLink(ship, link):
                if (known_ship := self.machines.get(ship)) and known_ship.link == link:
                    known_ship.accepted = True
            case RefuseLink():
                self.refused.append(effect)
            case CloseLink(ship, link):
                self.do(LinkLost(ship, link))
            case SendDesired(ship, link, desired):
                known_ship = self.machines.get(ship)
                if known_ship is not None and known_ship.link == link:
                    known_ship.desired = desired
            case Notify():
                self.notices.append(effect)

    def dial(self, ship: ShipId, *, key: str | None = None, token_ok: bool = True) -> LinkId:
        """A ship dials."""
        self.links += 1
        known = self.machines[ship]
        known.link, known.accepted, known.seq = LinkId(self.links), False, 0
        self.do(ShipDialed(ship, LinkId(self.links), key or known.key, f"boot {known.boot}", token_ok))
        return LinkId(self.links)

    def report(self, ship: ShipId) -> None:
        """A ship makes true what it was told and says so."""
        known = self.machines[ship]
        known.settle()
        if known.link is not None:
            self.do(ShipReported(ship, known.link, known.report()))

    def settle(self, rounds: int = 20) -> None:
        """Let the world answer, dial and report until nothing is left to do."""
        for _ in range(rounds):
            self.answer_all()
            for ship, known in list(self.machines.items()):
                if known.machine.status is MachineStatus.RUNNING and known.link is None:
                    self.dial(ship)
                    self.answer_all()
                if ship in self.machines and known.accepted:
                    self.report(ship)
            if not self.pending:
                return

    def answer_all(self, rounds: int = 50) -> None:
        """Carry out effects, and those that follow from them."""
        for _ in range(rounds):
            if not self.answer():
                return

    def restart(self) -> None:
        """Kill the mux and start it again from what is kept; links end with it."""
        self.pending.clear()
        self.fleet = self.kept.restored(self.spec, self.now)
        for known in self.machines.values():
            known.link, known.accepted = None, False
        self.do()

    def seats(self) -> dict[UserId, tuple[ShipId, int]]:
        """Who sits where."""
        return {user: (a.ship, a.seat) for user, a in self.fleet.world.assignments.items()}

    def states(self) -> dict[ShipId, ShipState]:
        """Ships and their states, without those that have ended."""
        return {
            ship.id: ship.state for ship in self.fleet.world.ships.values() if ship.state is not ShipState.TERMINATED
        }

    def routes(self) -> set[tuple[UserId, ProjectName]]:
        """What is routed."""
        return set(self.fleet.published().routes)


def effects(commands: Iterable[Command]) -> list[str]:
    """Names of the effects among commands, in order."""
    persisted = (
        SaveShip, SaveAssignment, ForgetAssignment, SaveSession, ForgetSession, SaveWaiting, ForgetWaiting,
        SaveControls, SaveSpend, SaveRollout, ForgetRollout, SaveWishes,
    )  # fmt: skip
    return [type(command).__name__ for command in commands if not isinstance(command, (*persisted, Publish))]
