"""What may stand in an event file: its tables and keys, as frozen models.

Owns names, types, bounds and defaults. Each key says here what it is for and gives an example; `template` writes files
from that, and a test holds docs/reference/event-file.md to it. Rules that span keys are in `checks`.

Rules: nothing unknown is accepted and nothing is coerced; units stand in names, or in the value where people expect
them there (``memory = "2GiB"`` becomes ``memory_bytes``); secrets are named by path, never written in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field, PrivateAttr

from mux.config import container_kinds, kinds, port_kinds
from mux.config.ec2 import Ec2Table
from mux.config.files_schema import FilesTable
from mux.config.fleet_schema import ATTENDEES_MAX, FleetTable
from mux.config.kinds import Address, Listener
from mux.config.rollout_schema import RolloutTable
from mux.config.tables import Key, Table
from mux.config.tls_schema import TlsTable
from mux.config.warming_schema import SpendTable, TimetableTable, WarmingTable

RESERVED_PROJECT_NAMES = frozenset(
    {"admin", "api", "events", "health", "live", "login", "logout", "mux", "static", "waiting"}
)
"""Names that pages of the mux itself may need below ``/camp/``."""

PROJECTS_MAX = 16
"""With `fleet_schema.SEATS_PER_SHIP_MAX` the 1,024 workspaces of one ship that the control protocol takes."""
DATA_DIRECTORY_DEFAULT = "data"
"""For those who must find the data while the file has faults."""
DAY_S = 86_400


class EventTable(Table):
    """What the event is called and where it is found."""

    doc: ClassVar[str] = "The event: what it is called and where it is found."

    name: Annotated[
        str,
        Key(
            kinds.text(
                63,
                pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*",
                allowed="1 to 63 letters, digits, dots, hyphens and underscores, a letter or digit first",
            ),
            "Names the event. Machines are marked with it: keep it while any exist.",
            "my-workshop",
        ),
    ]
    title: Annotated[
        str, Key(kinds.text(200, chars_min=0), "What pages call the event; the name if empty.", "My workshop")
    ] = ""
    public_address: Annotated[
        Address,
        Key(
            kinds.address(),
            "Where attendees' browsers find the event.",
            "http://localhost:8000",
        ),
    ]
    admin_address: Annotated[
        Address,
        Key(
            kinds.address(),
            "Where organizers' browsers find their pages. Another host name than the attendees': cookies ignore ports.",
            "http://127.0.0.1:8001",
        ),
    ]
    time_zone: Annotated[str, Key(kinds.time_zone(), "Times on pages are of this zone.", "UTC")] = "UTC"

    @property
    def shown_title(self) -> str:
        """The title, or the name if there is none."""
        return self.title or self.name


class ProjectTable(Table):
    """One tutorial. Each attendee gets one workspace of each project."""

    doc: ClassVar[str] = "A project: one tutorial. Repeat the table for each. Every attendee gets a workspace of each."

    name: Annotated[
        str,
        Key(
            kinds.project_name(RESERVED_PROJECT_NAMES),
            "Names the project; stands in its path.",
            "intro",
        ),
    ]
    title: Annotated[
        str, Key(kinds.text(200, chars_min=0), "What pages call the project; the name if empty.", "Introduction")
    ] = ""
    image: Annotated[
        str,
        Key(
            kinds.text(
                1024,
                allowed="a path of 1 to 1024 characters, absolute or relative to the event file's directory; "
                "for the docker runtime the name of an image",
            ),
            "What workspaces start from: for the process runtime a directory with home/ in it, "
            "for docker the name of an image.",
            "images/intro",
        ),
    ]
    kind: Annotated[
        str,
        Key(
            kinds.choice("jupyter", "camp", "http"),
            "jupyter is given base path and token as Jupyter wants them; camp is an image by the contract of the "
            "RISECamp tutorials; http is any web application.",
            "jupyter",
        ),
    ] = "jupyter"
    start: Annotated[
        str,
        Key(
            kinds.choice("warm", "on_use"),
            "warm: started before anybody comes. on_use: started at an attendee's first request.",
            "warm",
        ),
    ] = "warm"
    port: Annotated[
        int | None,
        Key(
            kinds.whole(1, 65535),
            "Port inside a container. A process is told its port instead. Default: 8080 for camp, else 8888.",
            8888,
        ),
    ] = None
    path: Annotated[
        str | None,
        Key(
            kinds.text(64, allowed="/camp/<name>/ with the project's name, which is also the default"),
            "Where attendees find the project.",
            "/camp/intro/",
        ),
    ] = None
    command: Annotated[
        tuple[str, ...],
        Key(
            kinds.command(),
            "Program and arguments that start a workspace; empty for JupyterLab, or for the image's own. "
            "{port}, {base_path} and {home} are filled in.",
            ["python3", "-m", "http.server", "{port}"],
        ),
    ] = Field(default=(), repr=False)
    environment: Annotated[
        Mapping[str, str],
        Key(
            kinds.variables(), "Variables for every workspace. Not for secrets: this file is shown.", {"COURSE": "2026"}
        ),
    ] = Field(default_factory=dict, repr=False)
    secrets: Annotated[
        Path | None,
        Key(
            kinds.path(),
            "CSV file of secret variables: attendee,VAR1,VAR2… A row * is for everybody.",
            "secrets.csv",
        ),
    ] = None
    memory_bytes: Annotated[
        int,
        Key(kinds.size(64 << 20, 1 << 40), "Hard memory limit of a workspace.", "2GiB"),
    ] = Field(default=1 << 30, alias="memory")
    cpus: Annotated[float, Key(kinds.number(0.05, 256, unit="cores"), "Processor limit of a workspace.", 1.0)] = Field(
        default=1.0, alias="cpu"
    )
    pids: Annotated[int, Key(kinds.whole(16, 65536), "Processes and threads that a workspace may have.", 512)] = 512
    shm_bytes: Annotated[int, Key(kinds.size(1 << 20, 1 << 38), "Size of /dev/shm.", "64MiB")] = Field(
        default=64 << 20, alias="shm"
    )
    health_path: Annotated[
        str | None,
        Key(
            kinds.health_path(),
            "Path below the project's that answers 2xx or 3xx once a workspace is ready. "
            "Default: api for jupyter, jupyter/api for camp, the project's own path for http.",
            "api",
        ),
    ] = None
    egress: Annotated[
        str | tuple[str, ...],
        Key(
            container_kinds.egress(),
            "Where a container may connect to. open: any public address. none: nowhere. Or a list. "
            "Metadata, the ship and other seats are always out of reach.",
            ["example.org:443", "192.0.2.0/24"],
        ),
    ] = "open"
    allow: Annotated[
        tuple[str, ...],
        Key(
            container_kinds.allowances(),
            "What a container may beyond the rule; each item weakens it.",
            ["root"],
        ),
    ] = ()
    root_filesystem: Annotated[
        str,
        Key(
            kinds.choice("auto", "read_only", "writable"),
            "Whether a container may write outside its home, /tmp and /run. "
            "auto: read-only if the image bears the label mux.read-only=true.",
            "read_only",
        ),
    ] = "auto"
    oci_runtime: Annotated[
        str,
        Key(
            container_kinds.oci_runtime(),
            "The OCI runtime that runs the container, as the ships' Docker knows it; empty for Docker's own.",
            "runsc",
        ),
    ] = ""
    ports: Annotated[
        Mapping[str, int],
        Key(
            port_kinds.named_ports(),
            "Further ports of a workspace, at /camp/<project>/port/<name>/. The number is the port inside a container; "
            "MUX_PORT_<NAME> says where to listen.",
            {"dashboard": 8787},
        ),
    ] = Field(default_factory=dict)
    ports_with_prefix: Annotated[
        tuple[str, ...],
        Key(
            port_kinds.names(port_kinds.PORTS_MAX),
            "Ports whose programs know /camp/<project>/port/<name> and are asked with it; from the others' paths it is "
            "taken off.",
            ["dashboard"],
        ),
    ] = ()
    shared: Annotated[
        tuple[str, ...],
        Key(
            port_kinds.names(port_kinds.SHARED_MAX),
            "Directories that an attendee's workspaces share: those of projects that name the same one. "
            "Found at ~/shared-<name>.",
            ["data"],
        ),
    ] = ()

    @property
    def base_path(self) -> str:
        """Where attendees find it, with a slash at both ends."""
        return f"/camp/{self.name}/"

    @property
    def shown_title(self) -> str:
        """The title, or the name if there is none."""
        return self.title or self.name

    @property
    def effective_health_path(self) -> str:
        """The health path that is in force, below the base path."""
        if self.health_path is not None:
            return self.health_path
        return health_path_default(self.kind)

    @property
    def effective_port(self) -> int:
        """The port inside a container that is in force."""
        if self.port is not None:
            return self.port
        return port_default(self.kind)


def health_path_default(kind: str) -> str:
    """What is asked for below the base path of a project that does not say it."""
    return {"jupyter": "api", "camp": "jupyter/api"}.get(kind, "")


def port_default(kind: str) -> int:
    """The port inside a container of a project that names none."""
    return 8080 if kind == "camp" else 8888


class AuthTable(Table):
    """Who may enter, and how."""

    doc: ClassVar[str] = "Who may enter, and how."

    mode: Annotated[
        str,
        Key(
            kinds.choice("roster", "passcode"),
            "roster: people with a code each. passcode: one passcode for all, names chosen at the door.",
            "roster",
        ),
    ] = "roster"
    roster: Annotated[
        Path | None,
        Key(
            kinds.path(),
            "CSV file of people (name,email,role,code or password), imported when the mux starts for the first time.",
            "roster.csv",
        ),
    ] = None
    passcode_file: Annotated[
        Path | None,
        Key(
            kinds.path(quiet=True),
            "File whose one line is the passcode, for mode passcode. Or set MUX_PASSCODE. Never write it here.",
            "passcode.txt",
        ),
    ] = None
    session_hours: Annotated[
        float, Key(kinds.number(0.01, 24 * 31, unit="hours"), "How long an attendee's login lasts.", 24.0)
    ] = 24.0
    organizer_session_hours: Annotated[
        float, Key(kinds.number(0.01, 24 * 31, unit="hours"), "How long an organizer's login lasts.", 12.0)
    ] = 12.0
    new_names_max: Annotated[
        int | None,
        Key(
            kinds.whole(1, 2 * ATTENDEES_MAX),
            "Names that may be chosen at the door in all, for mode passcode. Default: as many as there are seats.",
            100,
        ),
    ] = None
    new_names_per_minute: Annotated[
        int,
        Key(
            kinds.whole(1, 6000),
            "New names that may be chosen in one minute, for mode passcode; a minute's worth may come at once.",
            300,
        ),
    ] = 300


class ListenTable(Table):
    """Where the mux listens."""

    doc: ClassVar[str] = "Where the mux listens."

    public: Annotated[Listener, Key(kinds.listener(), "For attendees: the proxies.", "127.0.0.1:8000")] = Listener(
        "127.0.0.1", 8000
    )
    admin: Annotated[
        Listener, Key(kinds.listener(), "For organizers: their pages and the admin API.", "127.0.0.1:8001")
    ] = Listener("127.0.0.1", 8001)
    control: Annotated[Listener, Key(kinds.listener(), "For ships: TLS with the mux's own CA.", "127.0.0.1:8002")] = (
        Listener("127.0.0.1", 8002)
    )
    http: Annotated[
        Listener | None,
        Key(
            kinds.listener(),
            "For browsers that come without TLS: they are led to the public address. ACME asks here, on port 80.",
            "127.0.0.1:80",
        ),
    ] = None
    proxies: Annotated[int, Key(kinds.whole(1, 64), "Proxy processes; one per core is enough.", 1)] = 1


class RegistryTable(Table):
    """How ships come by images that are not for everybody."""

    doc: ClassVar[str] = "How ships come by images that are not for everybody."

    config: Annotated[
        Path | None,
        Key(
            kinds.path(),
            "A Docker client configuration with logins that may pull and nothing else, for ships to pull with.",
            "registry.json",
        ),
    ] = None
    ecr_role: Annotated[
        str | None,
        Key(
            kinds.text(
                256,
                pattern=r"arn:aws[a-z-]{0,16}:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,200}",
                allowed="the ARN of a role",
            ),
            "A role that may pull the event's repositories of Amazon ECR and nothing else, for ships to pull with.",
            "arn:aws:iam::123456789012:role/mux-pull",
        ),
    ] = None


class DataTable(Table):
    """Where the mux keeps what it must not lose."""

    doc: ClassVar[str] = "Where the mux keeps what it must not lose."

    directory: Annotated[
        Path, Key(kinds.path(), "Database, keys, sockets, logs and the files of local ships.", "data")
    ] = Path(DATA_DIRECTORY_DEFAULT)


class EventFile(Table):
    """A whole event file, after environment variables. Paths are as written: see `resolved` and `base`."""

    event: EventTable
    projects: Annotated[tuple[ProjectTable, ...], Field(alias="project")]
    fleet: FleetTable
    warming: WarmingTable = WarmingTable()
    rollout: RolloutTable = RolloutTable()
    timetable: TimetableTable = TimetableTable()
    spend: SpendTable = SpendTable()
    auth: AuthTable = AuthTable()
    listen: ListenTable = ListenTable()
    tls: TlsTable = TlsTable()
    registry: RegistryTable = RegistryTable()
    data: DataTable = DataTable()
    files: FilesTable = FilesTable()
    ec2: Ec2Table = Ec2Table()
    _base: Path = PrivateAttr(default=Path())

    @property
    def base(self) -> Path:
        """The file's directory, absolute: relative paths start there."""
        return self._base.absolute()

    @property
    def data_directory(self) -> Path:
        """Where the mux keeps what it must not lose, absolute."""
        return resolved(self._base, self.data.directory)

    def based(self, base: Path) -> EventFile:
        """The same file in another directory."""
        copied = self.model_copy()
        copied._base = base
        return copied

    def project(self, name: str) -> ProjectTable | None:
        """The project of that name, or None."""
        return next((project for project in self.projects if project.name == name), None)


TABLES: Mapping[str, type[Table]] = MappingProxyType(
    {
        "event": EventTable,
        "project": ProjectTable,
        "fleet": FleetTable,
        "warming": WarmingTable,
        "rollout": RolloutTable,
        "timetable": TimetableTable,
        "spend": SpendTable,
        "auth": AuthTable,
        "listen": ListenTable,
        "tls": TlsTable,
        "registry": RegistryTable,
        "data": DataTable,
        "files": FilesTable,
        "ec2": Ec2Table,
    }
)
"""Every table by its name in the file."""


def resolved(base: Path, path: Path | str) -> Path:
    """A path of an event file as an absolute one; relative ones start at ``base``, the file's directory."""
    return (base / path).absolute()
