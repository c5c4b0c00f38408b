"""Messages of the control protocol, version 1.

One WebSocket text frame holds one message: a JSON object with a ``type``. Every field is bounded here, so that a
message that parses is safe to keep. Mux and ships are not exchanged in the same moment, forth or back, so within one
version the reader is tolerant: fields that it does not know are passed over and not kept, and so are messages of a type
that it does not know once a link stands. So a new field has a default, and a reader that passes it over must do nothing
wrong; what is as it is by default is not sent. Whatever must not be passed over, a new value of an enumeration, a wider
bound or another meaning comes with another version; `Challenge` and `Hello` are the same in every one.

The ship dials. The mux sends `Challenge`; the ship answers `Hello`, signed with its own Ed25519 key; the mux answers
`Welcome` or `Refused`. Then the mux sends `RegistryLogins` if there are any and `Desired` whenever what it wants
changes, and the ship sends `Observed` whenever what is so changes and at least every ``heartbeat_s``. Either side
answers a message that it cannot read with `ProtocolError`, and goes on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PROTOCOL_VERSION = 1
"""The newest version that this side speaks."""
PROTOCOL_OLDEST = 1
"""The oldest one."""

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Bound of one message: 64 seats × 16 projects with a log tail each stay below it."""
WORKSPACES_MAX = 1024
"""Workspaces of one ship: 64 seats × 16 projects."""
PORTS_MAX = 8
"""Further ports of one project."""
SHARED_MAX = 8
"""Directories that one project shares with others."""
LOG_TAIL_CHARS_MAX = 16_384
"""Fifty lines of a log, long ones cut."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$|^$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Line = Annotated[str, Field(max_length=500)]
Text = Annotated[str, Field(max_length=4096)]
Allowance = Annotated[str, Field(pattern=r"^(root|shm|host_network|docker_socket|CAP_[A-Z][A-Z_]{2,30})$")]
"""One thing that a container may beyond the rule; ``CAP_…`` is a capability of capabilities(7)."""


Version = Annotated[int, Field(ge=0, lt=2**31)]


class Message(BaseModel):
    """Base of everything on the wire: frozen, nothing coerced; what is unknown is passed over and not kept."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Challenge(Message):
    """mux → ship, first.

    Args:
        version: the newest that the mux speaks.
        oldest: the oldest that it speaks; 0 for none but ``version``.
        nonce: 64 hex digits, fresh for each connection.
    """

    type: Literal["challenge"] = "challenge"
    version: Version = PROTOCOL_VERSION
    oldest: Version = 0 if PROTOCOL_OLDEST == PROTOCOL_VERSION else PROTOCOL_OLDEST
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Hello(Message):
    """ship → mux: who dials.

    Args:
        version: the newest that both sides speak; the link goes on in it.
        ship: id from the join information.
        boot: identity of this boot of the machine; another value under the same ship is another boot.
        public_key: raw Ed25519 public key, 64 hex digits. The first one that comes with a valid join token is bound.
        join_token: from the join information.
        signature: Ed25519 over ``hello_payload(...)``, 128 hex digits.
        agent_version: for people.
        runtime: ``process`` or ``docker``.
    """

    type: Literal["hello"] = "hello"
    version: Version = PROTOCOL_VERSION
    ship: Id
    boot: Id
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    join_token: Annotated[str, Field(max_length=128, repr=False)]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$", repr=False)]
    agent_version: Annotated[str, Field(max_length=64)]
    runtime: Name


def common_version(newest: int, oldest: int) -> int | None:
    """The newest version that both sides speak, or None.

    Args:
        newest, oldest: what the other side speaks; ``oldest`` is 0 for none but ``newest``.
    """
    chosen = min(newest, PROTOCOL_VERSION)
    return chosen if chosen >= max(oldest or newest, PROTOCOL_OLDEST) else None


def hello_payload(*, nonce: str, server_certificate_sha256: str, ship: str, boot: str, join_token: str) -> bytes:
    """The bytes that a ship signs: the challenge, the server certificate that it sees, and what it claims.

    The certificate binds the signature to this TLS connection's server (channel binding in the manner of RFC 5929's
    ``tls-server-end-point``).
    """
    return "\n".join(["mux-hello-1", nonce, server_certificate_sha256, ship, boot, join_token]).encode()


class Welcome(Message):
    """mux → ship: the link is accepted.

    Args:
        heartbeat_s: how often the ship is to report.
        files_token: what the ship shows at the file endpoint while this link lasts; empty if the mux keeps no files.
    """

    type: Literal["welcome"] = "welcome"
    heartbeat_s: Annotated[float, Field(gt=0, le=3600)]
    files_token: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", repr=False)] = ""


class Refused(Message):
    """mux → ship: no link. ``retry`` says whether dialing again can help."""

    type: Literal["refused"] = "refused"
    code: Code
    reason: Line
    retry: bool


class ProtocolError(Message):
    """Either way: the last message could not be read or was not due."""

    type: Literal["protocol_error"] = "protocol_error"
    code: Code
    detail: Line


class Project(Message):
    """What workspaces of one project run. Units as in the names; ``digest`` is what runs, ``image`` where it is had.

    ``ports`` are further ports that a workspace may listen on, by name: ports inside a container. ``shared`` are
    directories that it shares with other workspaces of its seat.

    Four are for containers: where they may connect to (``open``, ``none``, or a list of host:port and IPv4
    networks), what they may beyond the rule (`Allowance`), whether they may write outside their home, and which OCI
    runtime runs them (empty: the engine's own).
    """

    name: Name
    image: Annotated[str, Field(max_length=1024)]
    digest: Digest
    kind: Literal["jupyter", "camp", "http"]
    port: Port
    command: Annotated[list[Text], Field(max_length=64)]
    environment: Annotated[dict[Annotated[str, Field(max_length=128)], Text], Field(max_length=128)]
    memory_bytes: Count
    cpus: Annotated[float, Field(gt=0, le=1024)]
    pids: Count
    shm_bytes: Count
    base_path: Annotated[str, Field(pattern=r"^/[a-z0-9/-]*/$", max_length=128)]
    health_path: Annotated[str, Field(max_length=256)]
    egress: (
        Annotated[str, Field(pattern=r"^(open|none)$")]
        | Annotated[list[Annotated[str, Field(max_length=300)]], Field(min_length=1, max_length=64)]
    ) = "open"
    allow: Annotated[list[Allowance], Field(max_length=64)] = []
    root_filesystem: Literal["auto", "read_only", "writable"] = "auto"
    oci_runtime: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")] = ""
    ports: Annotated[dict[Name, Port], Field(max_length=PORTS_MAX)] = {}
    shared: Annotated[list[Name], Field(max_length=SHARED_MAX)] = []


class StartOver(Message):
    """A wish that files of a workspace be the image's again; what was the attendee's is kept beside.

    Args:
        number: tells it from other wishes of the same workspace; a later one has a larger number.
        path: of one file in the attendee's directory, percent-encoded; empty for everything.
    """

    number: Annotated[int, Field(ge=1, lt=2**53)]
    path: Text = ""


class Workspace(Message):
    """What should be true of one workspace.

    Args:
        id: its incarnation.
        seat: seat index.
        project: name of a `Project` in the same message.
        digest: image digest to run; it may differ from the project's while a rollout is under way.
        port: port to listen on or publish.
        wanted: warm, bound or suspended.
        token: secret that the workspace demands of requests.
        secrets: variables to attach; a change restarts the workspace on the same files.
        epoch: epoch of the assignment; 0 while warm.
        receipt: the mux's signature over event, attendee, ship, seat and epoch; empty while warm. Kept on disk.
        restore: id of the snapshot with the attendee's files, put onto the image's content before the workspace is of
            this epoch; empty if there is none.
        restore_shared: likewise of the directories that it shares, by name; put there before the first workspace that
            shares one is of this epoch, and not again.
        start_over: carried out once; it stands here until another one takes its place.
        ports: further ports to listen on or publish, by the project's names.
        shared: workspaces with the same one share the directories that their projects name; they are of one seat.
    """

    id: Id
    seat: Annotated[int, Field(ge=0, lt=1024)]
    project: Name
    digest: Digest
    port: Port
    wanted: Literal["warm", "bound", "suspended"]
    token: Annotated[str, Field(max_length=128, repr=False)]
    secrets: Annotated[
        dict[Annotated[str, Field(max_length=128)], Annotated[str, Field(max_length=8192)]],
        Field(max_length=64, repr=False),
    ]
    epoch: Count
    receipt: Annotated[str, Field(max_length=2048)]
    restore: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    restore_shared: Annotated[
        dict[Name, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(max_length=SHARED_MAX)
    ] = {}
    start_over: StartOver | None = None
    ports: Annotated[dict[Name, Port], Field(max_length=PORTS_MAX)] = {}
    shared: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$")] = ""


REGISTRIES_MAX = 16
"""Registries of one event."""


class RegistryLogin(Message):
    """How to pull from one registry.

    Args:
        registry: ``host`` or ``host:port``, as image references begin.
        username: to log in with.
        password: secret, good for pulling alone.
    """

    registry: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?$")]
    username: Annotated[str, Field(max_length=256)]
    password: Annotated[str, Field(max_length=16_384, repr=False)]


class RegistryLogins(Message):
    """mux → ship, before `Desired` and whenever they change: every login that there is. Never written to a disk."""

    type: Literal["registry_logins"] = "registry_logins"
    logins: Annotated[list[RegistryLogin], Field(max_length=REGISTRIES_MAX, repr=False)]


IMAGES_MAX = 64
"""Images of one ship beside those of its workspaces: two for each of 16 projects, twice."""


class Image(Message):
    """An image of a project that is to be had, whether a workspace runs it or not.

    Args:
        project: name of a `Project` in the same message.
        image: where it is had, as in `Project`.
        digest: which.
    """

    project: Name
    image: Annotated[str, Field(max_length=1024)]
    digest: Digest


class Desired(Message):
    """mux → ship: what should be true. A workspace that is listed nowhere here should not exist, nor its files.

    Args:
        generation: rises with every change; `Observed` names the one that is reached.
        projects: specifications, by name unique.
        workspaces: every workspace that should exist.
        kept: ids of workspaces whose attendees were moved away: stopped, with their files, neither served nor
            removed. One that the ship does not hold means nothing.
        images: to be had beside those of projects and workspaces, and kept; they also say where the images of
            workspaces are had that run another one than their project's.
    """

    type: Literal["desired"] = "desired"
    generation: Count
    projects: Annotated[list[Project], Field(max_length=256)]
    workspaces: Annotated[list[Workspace], Field(max_length=WORKSPACES_MAX)]
    kept: Annotated[list[Id], Field(max_length=WORKSPACES_MAX)] = []
    images: Annotated[list[Image], Field(max_length=IMAGES_MAX)] = []


class StartedOver(Message):
    """How the last `StartOver` of a workspace ended.

    Args:
        number: of the wish.
        done: whether it was carried out; if not, the files are as before.
        detail: why not, one sentence for people.
        kept: what is kept of the attendee's, percent-encoded: a file beside or a directory; empty if there was nothing.
    """

    number: Annotated[int, Field(ge=1, lt=2**53)]
    done: bool
    detail: Line = ""
    kept: Text = ""


class ObservedWorkspace(Message):
    """What is so of one workspace.

    Args:
        id: its incarnation.
        seat: seat index.
        project: its project.
        digest: image digest that runs.
        state: pulling, starting, healthy, unhealthy (runs, health path does not answer), restarting (exited, will be
            started again on the same files), failed (given up; reason and log tail say why), stopped.
        epoch: of the assignment it is bound to; 0 while warm.
        restarts: starts beyond the first.
        exit_code: of the last exit, None if it never exited.
        reason: short code of a failure; empty if none.
        detail: one sentence for people.
        log_tail: last 50 lines, secrets redacted; only with a failure.
        started_over: how the wish that stands, or stood last, has ended; None before that.
        behind_s: how much older the newest snapshot of its files is than the last change of them that was seen; 0 if
            that change is in the snapshot.
        saved: it is stopped since its attendee is leaving, and all that it left is in the newest snapshot.
        memory_kills: how many of its programs were seen to be killed for memory while it went on; a kernel, say.
        unkept: why what was changed could not be sent to the mux at the last try; empty if it could, or need not be.
    """

    id: Id
    seat: Annotated[int, Field(ge=0, lt=1024)]
    project: Name
    digest: Digest
    state: Literal["pulling", "starting", "healthy", "unhealthy", "restarting", "failed", "stopped"]
    epoch: Count = 0
    restarts: Count = 0
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    reason: Code = ""
    detail: Line = ""
    log_tail: Annotated[str, Field(max_length=LOG_TAIL_CHARS_MAX)] = ""
    started_over: StartedOver | None = None
    behind_s: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    saved: bool = False
    memory_kills: Count = 0
    unkept: Line = ""


class Resources(Message):
    """The machine: cores, load over one minute, bytes."""

    cpus: Count
    load_1m: Annotated[float, Field(ge=0, le=1e6)]
    memory_total_bytes: Count
    memory_available_bytes: Count
    disk_total_bytes: Count
    disk_free_bytes: Count


Stage = Literal["installing", "pulling", "starting", "ready"]
"""How far a ship is with getting ready, in this order; it goes back when more is wanted."""

NOTICES_MAX = 8
"""One of each kind, and room for a few that follow each other."""


class Notice(Message):
    """What the machine's owner has announced for this machine.

    Args:
        kind: interruption (a spot machine is taken back), maintenance (it is stopped, rebooted or retired),
            rebalance (an interruption has become likely).
        at: when, in seconds since the epoch; None if that was not said.
        detail: in the owner's words, e.g. ``instance-stop``; for people.
    """

    kind: Literal["interruption", "maintenance", "rebalance"]
    at: Annotated[float, Field(ge=0, le=1e11)] | None = None
    detail: Annotated[str, Field(max_length=200)] = ""


class Quiet(Message):
    """How long nobody has worked in a workspace.

    Args:
        workspace: its id.
        idle_s: seconds since a kernel last executed, printed or was given input, or since anything went through a
            terminal; 0 while a kernel is busy.
    """

    workspace: Id
    idle_s: Annotated[float, Field(ge=0, le=1e11)]


class Observed(Message):
    """ship → mux: what is so, as a whole; also the heartbeat.

    Args:
        seq: rises with every report of one link, from 1.
        generation: the desired generation that is reached; 0 before the first.
        phase: what the agent is doing, one line for people.
        resources: the machine.
        limits: limits in force, by name (memory, cpu, pids, shm).
        limits_missing: limits that the runtime cannot enforce here.
        workspaces: everything that the ship holds, wanted or not.
        stage: installing (not told yet what is wanted), pulling (an image is missing), starting (a workspace does not
            answer yet), ready (all that is wanted is so, or has been given up).
        notices: what is announced for this machine.
        quiet: how long nobody has worked in attendees' workspaces, of those that say it.
    """

    type: Literal["observed"] = "observed"
    seq: Count
    generation: Count
    phase: Line
    resources: Resources
    limits: Annotated[list[Name], Field(max_length=16)]
    limits_missing: Annotated[list[Name], Field(max_length=16)]
    workspaces: Annotated[list[ObservedWorkspace], Field(max_length=WORKSPACES_MAX)]
    stage: Stage = "starting"
    notices: Annotated[list[Notice], Field(max_length=NOTICES_MAX)] = []
    quiet: Annotated[list[Quiet], Field(max_length=WORKSPACES_MAX)] = []


MuxMessage = Annotated[
    Challenge | Welcome | Refused | ProtocolError | RegistryLogins | Desired, Field(discriminator="type")
]
"""What the mux may send."""
ShipMessage = Annotated[Hello | Observed | ProtocolError, Field(discriminator="type")]
"""What a ship may send."""

MUX_MESSAGES: TypeAdapter[Challenge | Welcome | Refused | ProtocolError | RegistryLogins | Desired] = TypeAdapter(
    MuxMessage
)
SHIP_MESSAGES: TypeAdapter[Hello | Observed | ProtocolError] = TypeAdapter(ShipMessage)
