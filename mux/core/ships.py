"""Ships, seats and workspaces as the core keeps them: what is wanted beside what was last heard.

Entities with identity, changed only by the modules that decide (workspaces, machines, attendance). They know how to
turn themselves into the record that is stored and into the desired state that is sent; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mux.core.commands import KeptRecord, ShipRecord, WorkspaceRecord
from mux.core.lifecycles import SHIP_BOOT_STARTS, Lifecycle, ship_lifecycle, workspace_lifecycle
from mux.core.model import (
    BootStage,
    Desired,
    DesiredWorkspace,
    HeldImage,
    LinkId,
    PortName,
    ProjectName,
    ProjectSpec,
    ReportedState,
    Resources,
    ShipId,
    ShipReport,
    ShipState,
    ShipWanted,
    StartedOver,
    StartOver,
    UserId,
    WorkspaceId,
    WorkspaceReport,
    WorkspaceState,
)
from mux.core.plural import counted
from mux.core.trial import Trial

Call = Literal["launch", "start", "park", "terminate"]


@dataclass(slots=True)
class Workspace:
    """One workspace.

    Args:
        id: its incarnation.
        seat: seat index.
        project: which project.
        digest: image digest that it runs.
        port: port on its ship.
        life: its lifecycle.
        healthy: the last report said that it answers.
        reported: the last report, None before the first, and after anything that makes it say nothing any more.
        port_stands_until: no move before that (seconds since the epoch).
        port_since: generation that gave it its port; what a ship says before it got there is about another port.
        previous: image to go back to while another one is on trial with it; empty otherwise.
        digest_since: generation that gave it its image, likewise.
        swap_until: when a swap that has not answered counts as failed, in seconds since the epoch.
        start_over: the last wish of its attendee to start files over; it stands until another one takes its place.
        started_over: how the last wish ended that the ship told of.
        behind_s: how far snapshots of its files were behind, at the last report.
        saved: its attendee is leaving, and all that it left is in the newest snapshot, or there is nothing of it.
        ports: further ports on its ship.
        shared: names what its seat's workspaces may share; another attendee's are given another name.
    """

    id: WorkspaceId
    seat: int
    project: ProjectName
    digest: str
    port: int
    life: Lifecycle[WorkspaceState]
    healthy: bool = False
    reported: WorkspaceReport | None = None
    port_stands_until: float = 0.0
    port_since: int = 0
    previous: str = ""
    digest_since: int = 0
    swap_until: float = 0.0
    start_over: StartOver | None = None
    started_over: StartedOver | None = None
    behind_s: float = 0.0
    saved: bool = False
    ports: dict[PortName, int] = field(default_factory=dict)
    shared: str = ""

    @property
    def state(self) -> WorkspaceState:
        """Where it is in its life."""
        return self.life.state

    @property
    def failed(self) -> bool:
        """The ship gave up on it."""
        return self.reported is not None and self.reported.state is ReportedState.FAILED

    def record(self) -> WorkspaceRecord:
        """What is stored of it."""
        return WorkspaceRecord(
            self.id,
            self.seat,
            self.project,
            self.digest,
            self.port,
            self.state,
            self.healthy,
            self.previous,
            self.swap_until,
            self.start_over,
            dict(self.ports),
            self.shared,
            self.started_over,
        )

    @classmethod
    def restored(cls, record: WorkspaceRecord) -> Workspace:
        """A workspace as it was stored."""
        life = workspace_lifecycle(record.id, record.state)
        return cls(
            record.id,
            record.seat,
            record.project,
            record.digest,
            record.port,
            life,
            record.healthy,
            previous=record.previous,
            swap_until=record.swap_until,
            start_over=record.start_over,
            started_over=record.started_over,
            ports=dict(record.ports),
            shared=record.shared,
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """A suspended workspace that is kept for whoever was moved away from it. See `KeptRecord`."""

    workspace: Workspace
    user: UserId
    epoch: int


@dataclass(slots=True)
class Seat:
    """Room for one attendee: whose it is, whether they are leaving it, and its current workspace of each project."""

    index: int
    user: UserId | None = None
    epoch: int = 0
    leaving: bool = False
    workspaces: dict[ProjectName, Workspace] = field(default_factory=dict)


@dataclass(slots=True)
class Ship:
    """One ship. See `ShipRecord` for what is stored; the rest is what was heard since the mux started.

    Args:
        kept: work of attendees who were moved away; while there is any, the ship takes nobody and is not ended.
        link: the accepted connection, None while there is none.
        report: last report over it.
        unreachable: its heartbeat deadline has passed.
        unreachable_since: when it did, in seconds since the epoch.
        path_failing_since: since when no proxy gets a connection to any of its workspaces; None when they do.
        path_failed_at: when one last got none.
        path_told: that both has been told.
        call: the provider call in flight.
        missing: listings in a row, asked for in their turn, that did not have it.
        missing_at: when the last of them was asked for.
        ordered: the provider took the order to launch it.
        ordered_at: when it said so; a listing that was asked for earlier need not have the machine.
        notices: what was announced for its machine and has been acted on: kind, and when.
        leave_at: when its people leave for that; None if they do not, or did.
        failures: by project, free workspaces that failed here in a row, since any workspace last got well.
        ports_taken: ports of its range that other programs were found on.
        ports_told: that it has no free port has been told.
        sent_at: when the desired state was last sent over this link; 0 means that it must be sent.
        stage: how far it said that it is with getting ready, in this boot.
        preparing: what its machine said that it is doing before an agent spoke for it; hostile.
        trials: throw-away workspaces that prove images of rollouts, by project.
        trial_port_at: when a port for a trial is looked for again, in seconds since the epoch; 0 while there is one.
        trial_port_until: when that is given up.
        trying_since: when its first trial of a project's latest rollout began, with the number of that rollout.
        worked: when somebody last worked in a workspace, in seconds since the epoch, of those of which it says that.
    """

    id: ShipId
    seats: list[Seat]
    life: Lifecycle[ShipState]
    wanted: ShipWanted = ShipWanted.RUN
    boot: int = 0
    boot_identity: str = ""
    key: str = ""
    generation: int = 0
    host: str = ""
    port_first: int = 0
    port_count: int = 0
    launched_at: float = 0.0
    cordoned: bool = False
    draining: bool = False
    failed: str = ""
    incarnations: int = 0
    kind: str = ""
    spot: bool = False
    replacing: bool = False
    workspaces: dict[WorkspaceId, Workspace] = field(default_factory=dict)
    kept: dict[WorkspaceId, Kept] = field(default_factory=dict)
    link: LinkId | None = None
    last_seen: float | None = None
    report: ShipReport | None = None
    unreachable: bool = False
    unreachable_since: float = 0.0
    path_failing_since: float | None = None
    path_failed_at: float = 0.0
    path_told: bool = False
    call: Call | None = None
    missing: int = 0
    missing_at: float = 0.0
    ordered: bool = False
    ordered_at: float = 0.0
    notices: tuple[tuple[str, float | None], ...] = ()
    leave_at: float | None = None
    failures: dict[ProjectName, int] = field(default_factory=dict)
    ports_taken: set[int] = field(default_factory=set)
    ports_told: bool = False
    sent_at: float = 0.0
    stage: BootStage | None = None
    preparing: str = ""
    trials: dict[ProjectName, Trial] = field(default_factory=dict)
    trial_port_at: float = 0.0
    trial_port_until: float = 0.0
    trying_since: dict[ProjectName, tuple[int, float]] = field(default_factory=dict)
    worked: dict[WorkspaceId, float] = field(default_factory=dict)

    @classmethod
    def new(cls, ship: ShipId, seats: int, now: float) -> Ship:
        """A ship that is about to be launched."""
        return cls(id=ship, seats=[Seat(index) for index in range(seats)], life=ship_lifecycle(ship), launched_at=now)

    @classmethod
    def restored(cls, record: ShipRecord, now: float) -> Ship:
        """A ship as it was stored, before anything is heard of it again. ``now``: seconds since the epoch."""
        ship = cls(
            id=record.id,
            seats=[Seat(index, leaving=index in record.leaving) for index in range(record.seats)],
            life=ship_lifecycle(record.id, record.state),
            wanted=record.wanted,
            boot=record.boot,
            boot_identity=record.boot_identity,
            key=record.key,
            generation=record.generation,
            host=record.host,
            port_first=record.port_first,
            port_count=record.port_count,
            # A clock that was set back must not make it look as if it were launched after every listing.
            launched_at=min(record.launched_at, now),
            cordoned=record.cordoned,
            draining=record.draining,
            failed=record.failed,
            incarnations=record.incarnations,
            kind=record.kind,
            spot=record.spot,
            replacing=record.replacing,
            notices=record.notices,
            leave_at=record.leave_at,
        )
        for stored in record.workspaces:
            workspace = Workspace.restored(stored)
            # Whether its port was moved just before the mux was restarted is not known any more.
            workspace.port_since = 0 if stored.healthy else record.generation
            workspace.digest_since = workspace.port_since
            ship.workspaces[stored.id] = workspace
            if stored.state not in (WorkspaceState.DRAINING, WorkspaceState.STOPPED):
                ship.seats[stored.seat].workspaces[stored.project] = workspace
        for kept in record.kept:
            ship.kept[kept.workspace.id] = Kept(Workspace.restored(kept.workspace), kept.user, kept.epoch)
        return ship

    @property
    def state(self) -> ShipState:
        """Where it is in its boot."""
        return self.life.state

    @property
    def gone(self) -> bool:
        """It has ended, or should."""
        return self.state is ShipState.TERMINATED or self.wanted is ShipWanted.GONE

    @property
    def unordered(self) -> bool:
        """Its launch has still to be asked for, or again: no call is under way and the provider took no order."""
        waits = self.state is ShipState.PENDING and self.wanted is ShipWanted.RUN and self.call is None
        return waits and not self.host and not self.ordered

    @property
    def costs(self) -> bool:
        """Somebody pays for its machine: it is ordered, and has neither ended nor been parked."""
        return self.state not in (ShipState.TERMINATED, ShipState.PARKED) and not self.unordered

    @property
    def resources(self) -> Resources:
        """Its machine, as last reported."""
        return self.report.resources if self.report else Resources()

    @property
    def phase(self) -> str:
        """What it last said that it is doing; hostile."""
        return self.report.phase if self.report else self.preparing

    @property
    def assigned(self) -> int:
        """Seats that are somebody's."""
        return sum(seat.user is not None for seat in self.seats)

    @property
    def healthy(self) -> bool:
        """Known to be good for newcomers: up, linked, heard from, and nothing stands against it."""
        return (
            self.state in (ShipState.AVAILABLE, ShipState.RUNNING)
            and self.wanted is ShipWanted.RUN
            and self.link is not None
            and not (self.unreachable or self.cordoned or self.draining or self.failed)
            and not self.kept
        )

    @property
    def noticed(self) -> bool:
        """Its machine will be taken, or may be, and it gets nobody new for that, unless an organizer knows better."""
        return self.cordoned and bool(self.notices)

    @property
    def kept_of(self) -> tuple[UserId, ...]:
        """Whose work it keeps."""
        return tuple(dict.fromkeys(kept.user for kept in self.kept.values()))

    def conditions(self) -> Iterator[str]:
        """The conditions that stand beside the state, in words."""
        if self.unreachable:
            yield "unreachable"
        if self.cordoned or self.kept:
            yield "cordoned"
        if self.draining:
            yield "being replaced" if self.replacing else "draining"
        if self.failed:
            yield f"failed ({self.failed})"
        if self.kept:
            yield f"keeps work of {counted(len(self.kept_of), 'attendee')}"

    def boots(self) -> None:
        """A new boot has begun: what was known of the old one is forgotten, what is wanted stays."""
        self.boot += 1
        self.begins_anew()
        if self.trials:
            self.trials.clear()
            self.generation += 1
        self.life.to(ShipState.BOOTING, table=SHIP_BOOT_STARTS)
        for workspace in self.workspaces.values():
            workspace.healthy = False
            workspace.reported = None
            workspace.swap_until = 0.0
            if workspace.state is WorkspaceState.WARM:
                workspace.life.to(WorkspaceState.PREPARING)

    def begins_anew(self) -> None:
        """What was said of how a boot goes on is past."""
        self.stage = None
        self.preparing = ""

    def free_ports(self, named: Iterable[PortName]) -> tuple[int, dict[PortName, int]] | None:
        """A workspace's own port and a further one for each name, all free; None when the range is used up."""
        found: list[int] = []
        names = list(named)
        for _ in range(1 + len(names)):
            port = self.free_port(found)
            if port is None:
                return None
            found.append(port)
        return found[0], dict(zip(names, found[1:], strict=True))

    def free_port(self, besides: Iterable[int] = ()) -> int | None:
        """A port of the range that nobody is known to hold, in rotation; None when the range is used up.

        Once ports were found taken, the middle of the widest stretch that is left: programs take ports in a row.

        Args:
            besides: taken, too.
        """
        held = self.ports_taken | {*besides}
        for workspace in self.workspaces.values():
            held |= {workspace.port, *workspace.ports.values()}
        for trial in self.trials.values():
            held |= {trial.port, *trial.ports.values()}
        if self.ports_taken:
            return self._middle_of_widest(held)
        for step in range(self.port_count):
            port = self.port_first + (self.incarnations + step) % self.port_count
            if port not in held:
                return port
        return None

    def _middle_of_widest(self, held: set[int]) -> int | None:
        widest, first = 0, self.port_first
        start = self.port_first
        for port in range(self.port_first, self.port_first + self.port_count + 1):
            if port in held or port == self.port_first + self.port_count:
                if port - start > widest:
                    widest, first = port - start, start
                start = port + 1
        return first + widest // 2 if widest else None

    def desired(self, projects: Mapping[ProjectName, ProjectSpec], images: tuple[HeldImage, ...] = ()) -> Desired:
        """What should be true of it now.

        Args:
            projects: as they run on this ship.
            images: to be had beside theirs.
        """
        workspaces = tuple(
            DesiredWorkspace(
                id=workspace.id,
                seat=workspace.seat,
                project=workspace.project,
                digest=workspace.digest,
                port=workspace.port,
                wanted=self._wanted(workspace),
                user=self.seats[workspace.seat].user,
                epoch=self.seats[workspace.seat].epoch,
                start_over=workspace.start_over,
                ports=dict(workspace.ports),
                shared=workspace.shared,
            )
            for seat in self.seats
            for workspace in seat.workspaces.values()
        )
        # Beside the seats: a trial takes nobody's room.
        trials = tuple(
            DesiredWorkspace(
                trial.id,
                len(self.seats),
                trial.project,
                trial.digest,
                trial.port,
                "warm",
                ports=trial.ports,
                shared=trial.id,
            )
            for trial in self.trials.values()
        )
        used = {workspace.project for workspace in (*workspaces, *trials)} | {image.project for image in images}
        specs = tuple(spec for name, spec in projects.items() if name in used)
        return Desired(self.generation, specs, (*workspaces, *trials), tuple(self.kept), images)

    def _wanted(self, workspace: Workspace) -> Literal["warm", "bound", "suspended"]:
        if workspace.state is WorkspaceState.SUSPENDED:
            return "suspended"
        return "bound" if self.seats[workspace.seat].user is not None else "warm"

    def record(self) -> ShipRecord:
        """What is stored of it."""
        return ShipRecord(
            id=self.id,
            state=self.state,
            wanted=self.wanted,
            boot=self.boot,
            boot_identity=self.boot_identity,
            key=self.key,
            generation=self.generation,
            seats=len(self.seats),
            host=self.host,
            port_first=self.port_first,
            port_count=self.port_count,
            launched_at=self.launched_at,
            cordoned=self.cordoned,
            draining=self.draining,
            failed=self.failed,
            incarnations=self.incarnations,
            kind=self.kind,
            spot=self.spot,
            replacing=self.replacing,
            leaving=tuple(seat.index for seat in self.seats if seat.leaving),
            notices=self.notices,
            leave_at=self.leave_at,
            workspaces=tuple(workspace.record() for workspace in self.workspaces.values()),
            kept=tuple(KeptRecord(kept.workspace.record(), kept.user, kept.epoch) for kept in self.kept.values()),
        )
