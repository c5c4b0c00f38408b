"""The nouns of mux as values: ids, specifications, and what is kept of ships, seats, workspaces and assignments.

Pure data. Behaviour lives beside it: lifecycles (which states may follow which), planner (how many ships), scheduler
(who sits where), liveness (who is heard from), fleet (the one function of events and time).

Times are seconds since the epoch, sizes are bytes, both named so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, NewType

from mux.core.spend import SpendSpec
from mux.core.timetable import Timetable

ShipId = NewType("ShipId", str)
"""``ship-0001``: given by the core, never reused within one store."""
UserId = NewType("UserId", str)
"""Opaque id of a roster entry; never a name or an e-mail address."""
ProjectName = NewType("ProjectName", str)
"""``[a-z0-9][a-z0-9-]{0,30}``: stands in ``/camp/<project>/``."""
PortName = NewType("PortName", str)
"""``[a-z0-9][a-z0-9-]{0,30}``: stands in ``/camp/<project>/port/<name>/``."""
WorkspaceId = NewType("WorkspaceId", str)
"""``<ship>.<seat>.<project>.<n>``: one incarnation; never reused."""
SessionHash = NewType("SessionHash", str)
"""64 hex digits: SHA-256 of a session token. The token itself is known to the browser alone."""
LinkId = NewType("LinkId", int)
"""One connection of a ship to the control endpoint, counted by the control endpoint."""


class ShipState(StrEnum):
    """Where a ship is in its boot. Conditions (unreachable, cordoned, draining, failed) stand beside it."""

    PENDING = "pending"
    BOOTING = "booting"
    AVAILABLE = "available"
    RUNNING = "running"
    PARKED = "parked"
    TERMINATED = "terminated"


class WorkspaceState(StrEnum):
    """Where a workspace is in its life. The condition failed (why) stands beside it."""

    PREPARING = "preparing"
    WARM = "warm"
    BOUND = "bound"
    SUSPENDED = "suspended"
    DRAINING = "draining"
    STOPPED = "stopped"


class Role(StrEnum):
    """What a roster entry may do."""

    ATTENDEE = "attendee"
    HELPER = "helper"
    ORGANIZER = "organizer"


class Doors(StrEnum):
    """Whether newcomers get seats: ``auto`` opens once ``ready_seats`` are ready, and then stays open."""

    AUTO = "auto"
    OPEN = "open"
    CLOSED = "closed"


class ShipWanted(StrEnum):
    """What the mux wants of a ship's machine."""

    RUN = "run"
    PARKED = "parked"
    GONE = "gone"


class MachineStatus(StrEnum):
    """What a provider says of a machine."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its provider describes it.

    Args:
        ship: the ship that it was launched for.
        status: as the provider says now.
        host: private address that proxies connect to; empty while the provider has none yet.
        port_first: first TCP port of the range that workspaces of this ship may publish.
        port_count: size of that range.
        kind: what sort of machine it is, as prices go by it; empty when the provider does not say.
        spot: the provider may take it back, and it has a price of its own; said with the kind alone.
    """

    ship: ShipId
    status: MachineStatus
    host: str = ""
    port_first: int = 0
    port_count: int = 0
    kind: str = ""
    spot: bool = False


LANDINGS: Mapping[str, str] = {"camp": "jupyter/"}
"""Kinds whose workspaces answer their base path with 404: where attendees enter instead, below it."""


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """One tutorial, as the event file describes it.

    Args:
        name: stands in the path.
        image: reference as written: a directory for the ``process`` runtime, an image name for ``docker``.
        digest: what the reference resolved to; workspaces run this, whatever the reference says later.
        kind: ``jupyter`` gets base path and token as Jupyter wants them; ``camp`` is an image by the contract of the
            RISECamp tutorials; ``http`` is any web application.
        start: ``warm`` before anybody comes, or ``on_use`` at the attendee's first request.
        port: port inside a container; a process is told its port instead.
        command: start command; empty for the image's own, or the kind's default.
        environment: extra variables, name to value.
        memory_bytes: hard memory limit.
        cpus: processor limit, in cores.
        pids: limit of processes and threads.
        shm_bytes: size of /dev/shm.
        health_path: path below the project's base path that answers 2xx or 3xx when the workspace is ready.
        has_secrets: whether values must be attached at bind (which restarts the workspace) or at start.
        egress: where a container may connect to: ``open``, ``none``, or a list of host:port and networks.
        allow: what a container may beyond the rule, by name.
        root_filesystem: whether a container may write outside its home; ``auto`` leaves it to the image.
        oci_runtime: what runs the container; empty for the engine's own.
        ports: further ports of a workspace, name to port inside a container; a process is told others instead.
        ports_with_prefix: of these, those whose programs are asked with the whole public path; the others are asked
            with what follows the port's name.
        shared: directories that it shares with the attendee's other projects that name them, too.
    """

    name: ProjectName
    image: str
    digest: str
    title: str = ""
    kind: Literal["jupyter", "camp", "http"] = "jupyter"
    start: Literal["warm", "on_use"] = "warm"
    port: int = 8888
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 1 << 30
    cpus: float = 1.0
    pids: int = 512
    shm_bytes: int = 64 << 20
    health_path: str = "api"
    has_secrets: bool = False
    egress: str | tuple[str, ...] = "open"
    allow: tuple[str, ...] = ()
    root_filesystem: Literal["auto", "read_only", "writable"] = "auto"
    oci_runtime: str = ""
    ports: Mapping[PortName, int] = field(default_factory=dict)
    ports_with_prefix: tuple[PortName, ...] = ()
    shared: tuple[str, ...] = ()

    def with_image(self, image: str, digest: str) -> ProjectSpec:
        """The same project with another image."""
        return self if (image, digest) == (self.image, self.digest) else replace(self, image=image, digest=digest)

    @property
    def landing(self) -> str:
        """Path below the base path to which that itself leads; empty where the workspace answers it."""
        return LANDINGS.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """How large the fleet is and how patient mux is with it.

    Args:
        attendees: people expected.
        seats_per_ship: seats that one machine holds.
        spare_seats: seats beyond ``attendees``, for failures and surprises.
        ready_seats: ready seats at which doors in ``auto`` open.
        heartbeat_s: how often a ship reports.
        heartbeat_grace_s: silence after which a ship counts as unreachable.
        lost_after_s: how long a ship must be unreachable, and its workspaces out of reach, before it is lost.
        boot_deadline_s: time from launch to ``available`` after which a ship is replaced.
        install_deadline_s: time that a booting ship may be installing.
        pull_deadline_s: time that it may be pulling images.
        start_deadline_s: time that it may be starting workspaces.
        warming_stall_s: time without another ready seat after which warming counts as stalled.
        launch_failures_max: failures in a row after which launching stops until an organizer resumes it.
        launch_backoff_s: first pause after a failure; doubles with each, up to ``launch_backoff_max_s``.
        launch_backoff_max_s: longest pause.
        launches_in_flight_max: launches under way at once.
        surplus_hold_s: how long a whole free ship must be surplus before it is ended.
        listing_s: how often the provider is asked what exists.
    """

    attendees: int
    seats_per_ship: int
    spare_seats: int = 0
    ready_seats: int = 1
    heartbeat_s: float = 5.0
    heartbeat_grace_s: float = 20.0
    lost_after_s: float = 120.0
    boot_deadline_s: float = 600.0
    install_deadline_s: float = 600.0
    pull_deadline_s: float = 600.0
    start_deadline_s: float = 300.0
    warming_stall_s: float = 300.0
    launch_failures_max: int = 6
    launch_backoff_s: float = 2.0
    launch_backoff_max_s: float = 120.0
    launches_in_flight_max: int = 100
    surplus_hold_s: float = 120.0
    listing_s: float = 15.0

    @property
    def seats_wanted(self) -> int:
        """Seats that the fleet must hold."""
        return self.attendees + self.spare_seats


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """How careful rollouts are.

    Args:
        share: of a project's bound workspaces that may be swapped at once, in (0, 1]; 0 when ``count`` says it.
        count: so many at once; 0 when ``share`` says it.
        monitor_s: how long a wave is watched before the next one.
        start_max_s: time within which a workspace of a new image must answer.
        failures_max: ships and workspaces that may fail before a rollout stops itself.
        idle_after_s: time without work after which an attendee counts as idle.
    """

    share: float = 0.1
    count: int = 0
    monitor_s: float = 10.0
    start_max_s: float = 60.0
    failures_max: int = 2
    idle_after_s: float = 120.0


@dataclass(frozen=True, slots=True)
class EventSpec:
    """The part of the event file that the core decides by."""

    name: str
    projects: tuple[ProjectSpec, ...]
    fleet: FleetSpec
    timetable: Timetable = field(default_factory=Timetable)
    spend: SpendSpec = field(default_factory=SpendSpec)
    rollout: RolloutSpec = field(default_factory=RolloutSpec)

    def project(self, name: ProjectName) -> ProjectSpec | None:
        """The project of that name, or None."""
        return next((project for project in self.projects if project.name == name), None)


@dataclass(frozen=True, slots=True)
class Session:
    """A login. ``expires_at`` in seconds since the epoch."""

    hash: SessionHash
    user: UserId
    expires_at: float


@dataclass(frozen=True, slots=True)
class Assignment:
    """Attendee to seat. ``epoch`` rises with every move; an older epoch has no claim."""

    user: UserId
    ship: ShipId
    seat: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attendee without a seat. ``turn`` orders the queue: the smallest is next."""

    user: UserId
    turn: int
    since: float


class ReportedState(StrEnum):
    """What a ship last said of a workspace."""

    PULLING = "pulling"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StartOver:
    """A wish that files of a workspace be the image's again.

    Args:
        number: tells it from every other wish on the same ship; a later one has a larger number.
        path: of one file, percent-encoded; empty for everything.
    """

    number: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class StartedOver:
    """How a wish to start over ended, as the ship says.

    Args:
        number: of the wish.
        done: whether it was carried out.
        detail: why not; the ship's text, hostile until escaped.
        kept: where the attendee's is kept, percent-encoded; empty if there was nothing.
    """

    number: int
    done: bool
    detail: str = ""
    kept: str = ""


@dataclass(frozen=True, slots=True)
class WorkspaceReport:
    """One workspace of a report. Texts are the ship's: bounded by the control endpoint, hostile until escaped.

    Args:
        id: which workspace.
        state: what the ship says of it.
        reason: short code of a failure, ``exited``, ``hook_failed``, ``port_in_use`` and the like; empty if none.
        detail: one sentence for people.
        log_tail: last lines of its log, secrets redacted by the ship; only with a failure.
        restarts: starts beyond the first.
        epoch: of the assignment that it is bound to; 0 while warm.
        digest: image that it runs, or ran last; empty if that was not said.
        started_over: how the last wish to start over ended; None before that.
        behind_s: how much older the newest snapshot of its files is than their last change that was seen.
        saved: it is stopped since its attendee is leaving, and all that it left is in the newest snapshot.
        memory_kills: how many of its programs were seen to be killed for memory while it went on.
        unkept: why its files could not be sent to the mux; empty if they could.
    """

    id: WorkspaceId
    state: ReportedState
    reason: str = ""
    detail: str = ""
    log_tail: str = ""
    restarts: int = 0
    epoch: int = 0
    digest: str = ""
    started_over: StartedOver | None = None
    behind_s: float = field(default=0.0, compare=False)
    saved: bool = field(default=False, compare=False)
    memory_kills: int = 0
    unkept: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Resources:
    """A ship's machine, as its last report says. Bytes, and load over one minute."""

    cpus: int = 0
    load_1m: float = 0.0
    memory_total_bytes: int = 0
    memory_available_bytes: int = 0
    disk_total_bytes: int = 0
    disk_free_bytes: int = 0


class BootStage(StrEnum):
    """How far a ship says that it is with getting ready."""

    INSTALLING = "installing"
    PULLING = "pulling"
    STARTING = "starting"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class ShipNotice:
    """What a machine's owner has announced for it, as the ship heard it.

    Args:
        kind: ``interruption`` (it is taken back), ``maintenance`` (stopped, rebooted or retired), ``rebalance`` (an
            interruption has become likely).
        at: when, in seconds since the epoch; None if that was not said.
        detail: in the owner's words; the ship's text, hostile until escaped.
    """

    kind: Literal["interruption", "maintenance", "rebalance"]
    at: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ShipReport:
    """What a ship says is so: a whole, never a difference.

    Args:
        seq: rises with every report of one link; a smaller one is late and ignored.
        generation: the desired generation that the ship has reached.
        phase: what it is doing, one line for people.
        workspaces: everything that it holds.
        resources: its machine.
        limits: limits in force, by name.
        limits_missing: limits that the runtime cannot enforce here, by name.
        stage: how far it is with getting ready.
        notices: what is announced for its machine.
        quiet: for how many seconds nobody has worked in a workspace, of those of which it is known.
    """

    seq: int
    generation: int
    phase: str = ""
    workspaces: tuple[WorkspaceReport, ...] = ()
    resources: Resources = field(default_factory=Resources)
    limits: tuple[str, ...] = ()
    limits_missing: tuple[str, ...] = ()
    stage: BootStage = BootStage.STARTING
    notices: tuple[ShipNotice, ...] = ()
    quiet: tuple[tuple[WorkspaceId, float], ...] = ()


@dataclass(frozen=True, slots=True)
class DesiredWorkspace:
    """What should be true of one workspace.

    Args:
        id: its incarnation.
        seat: seat index on the ship.
        project: which project's image, command and limits.
        digest: image digest to run.
        port: port to publish, out of the ship's range.
        wanted: ``warm`` (nobody's yet), ``bound`` (an attendee's), ``suspended`` (stopped, files kept).
        user: whose it is; None while warm.
        epoch: of the assignment; 0 while warm.
        start_over: the last wish of its attendee; the ship carries it out once.
        ports: further ports to publish, out of the same range.
        shared: names what the workspaces of one attendee on this seat may share; no other attendee's bears it.
    """

    id: WorkspaceId
    seat: int
    project: ProjectName
    digest: str
    port: int
    wanted: Literal["warm", "bound", "suspended"]
    user: UserId | None = None
    epoch: int = 0
    start_over: StartOver | None = None
    ports: Mapping[PortName, int] = field(default_factory=dict)
    shared: str = ""


@dataclass(frozen=True, slots=True)
class HeldImage:
    """An image of a project that a ship is to have, whether a workspace runs it or not.

    Args:
        project: whose.
        image: where it is had, as in `ProjectSpec`.
        digest: which.
    """

    project: ProjectName
    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be true of a ship. A workspace that is listed nowhere here should not exist, nor its files.

    Args:
        generation: rises with every change; the report names the one that is reached.
        projects: specifications that the workspaces refer to.
        workspaces: every workspace that should exist.
        kept: workspaces of attendees who were moved away: stopped, with their files.
        images: to be had beside those of projects and workspaces.
    """

    generation: int
    projects: tuple[ProjectSpec, ...]
    workspaces: tuple[DesiredWorkspace, ...]
    kept: tuple[WorkspaceId, ...] = ()
    images: tuple[HeldImage, ...] = ()
