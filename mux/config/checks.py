"""Rules of an event file that span keys, and the files that it names.

Owns what a single key cannot know. Each rule names the keys that it involves; a rule that involves a key which is wrong
by itself (``wrong``, dotted paths) is passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations, islice
from pathlib import Path

from mux.config import ec2
from mux.config.container_kinds import IMAGE_NAME_ALLOWED, SHM_FREE_BYTES, is_image_name
from mux.config.faults import ConfigError, Fault, nearest, shown
from mux.config.files_checks import files_rules
from mux.config.kinds import Listener, is_loopback, size_text
from mux.config.port_checks import port_rules
from mux.config.schema import PROJECTS_MAX, EventFile, ProjectTable, resolved
from mux.config.secrets import read_passcode, read_project_secrets
from mux.config.tls_checks import checked_tls, checked_tls_files
from mux.config.warming_checks import warming_rules

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
PROJECTS_ALLOWED = f"1 to {PROJECTS_MAX} tables, each under a line [[project]]"
NAMES_MAX = 1000
"""Names of a directory that are compared with one that was not found."""
PORTS_PER_WORKSPACE = 2
"""Times each port of a workspace: while one is replaced, the old one and the new one hold theirs."""
PORTS_SPARE = 4
"""Of each ship, for those that others hold: a Docker engine that is killed while it starts a container holds that one's
ports, for nobody, until it is started once more. A ship of one seat has few others."""


def ports_per_ship(file: EventFile) -> int:
    """Ports that one ship's workspaces need."""
    ports = sum(1 + len(project.ports) for project in file.projects)
    return file.fleet.seats_per_ship * ports * PORTS_PER_WORKSPACE + PORTS_SPARE


def checked_keys(file: EventFile, wrong: Collection[str]) -> Iterator[Fault]:
    """Faults between keys."""
    for involved, fault in _rules(file):
        if not any(_wrong(key, wrong) for key in involved):
            yield fault


def _touches(key: str, bad: str) -> bool:
    return key == bad or key.startswith((f"{bad}.", f"{bad}["))


def _rules(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    yield from _addresses(file)
    yield from _projects(file)
    yield from port_rules(file)
    yield from _fleet(file)
    yield from _listeners(file)
    yield from _boundary(file)
    yield from warming_rules(file)
    yield from checked_tls(file)
    yield from files_rules(file)
    yield from _machines(file)


def _addresses(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    event = file.event
    if event.public_address.host == event.admin_address.host:
        yield (
            ("event.admin_address", "event.public_address"),
            Fault(
                "event.admin_address",
                f"{shown(str(event.admin_address))}, the same host name as event.public_address",
                "another host name: cookies ignore ports, so another port does not keep attendees and organizers apart",
                _other_host(event.public_address.host),
            ),
        )


def _other_host(host: str) -> str | None:
    return {"localhost": "127.0.0.1", "127.0.0.1": "localhost", "::1": "localhost"}.get(host)


def _projects(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    if not 1 <= len(file.projects) <= PROJECTS_MAX:
        yield ("project",), Fault("project", f"{len(file.projects)} projects", PROJECTS_ALLOWED)
    first: dict[str, int] = {}
    for index, project in enumerate(file.projects):
        key = f"project[{index}]"
        where = _whose(project)
        if project.name in first:
            yield (
                (f"{key}.name", f"project[{first[project.name]}].name"),
                Fault(
                    f"{key}.name",
                    f"{shown(project.name)}, as in project[{first[project.name]}]",
                    "a name that no other project has",
                ),
            )
        first.setdefault(project.name, index)
        if project.path is not None and project.path != project.base_path:
            yield (
                (f"{key}.path", f"{key}.name"),
                Fault(f"{key}.path", shown(project.path), shown(project.base_path), shown(project.base_path), where),
            )
        if file.fleet.runtime == "process" and project.kind == "http" and not project.command:
            yield (
                (f"{key}.command", f"{key}.kind", "fleet.runtime"),
                Fault(f"{key}.command", "nothing", "a program, since the kind http has none of its own", None, where),
            )
        if file.fleet.runtime == "process" and project.kind == "camp":
            yield (
                (f"{key}.kind", "fleet.runtime"),
                Fault(f"{key}.kind", '"camp"', '"jupyter" or "http": a camp image is a container\'s', None, where),
            )
        if project.shm_bytes > project.memory_bytes:
            yield (
                (f"{key}.shm", f"{key}.memory"),
                Fault(
                    f"{key}.shm",
                    size_text(project.shm_bytes),
                    f"at most memory ({size_text(project.memory_bytes)}), which it is part of",
                    None,
                    where,
                ),
            )

        if file.fleet.runtime == "docker":
            yield from _container(project, key)


def _container(project: ProjectTable, key: str) -> Iterator[tuple[tuple[str, ...], Fault]]:
    """What only containers have."""
    where = _whose(project)
    if not is_image_name(project.image):
        yield (
            (f"{key}.image", "fleet.runtime"),
            Fault(f"{key}.image", shown(project.image), IMAGE_NAME_ALLOWED, None, where),
        )
    if project.shm_bytes > SHM_FREE_BYTES and "shm" not in project.allow:
        yield (
            (f"{key}.shm", f"{key}.allow", "fleet.runtime"),
            Fault(
                f"{key}.shm",
                size_text(project.shm_bytes),
                f'at most {size_text(SHM_FREE_BYTES)}, or more with "shm" in allow',
                None,
                where,
            ),
        )
    if "host_network" in project.allow and project.egress != "open":
        yield (
            (f"{key}.egress", f"{key}.allow"),
            Fault(
                f"{key}.egress",
                "a limit" if project.egress != "none" else '"none"',
                '"open" where allow holds "host_network": no rule holds on the ship\'s own network',
                '"open"',
                where,
            ),
        )


def _whose(project: ProjectTable) -> str:
    return f"project {shown(project.name)}"


def _fleet(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    fleet = file.fleet
    if fleet.ready_seats is not None and fleet.ready_seats > fleet.seats_wanted:
        yield (
            ("fleet.ready_seats", "fleet.attendees", "fleet.spare_seats"),
            Fault(
                "fleet.ready_seats",
                str(fleet.ready_seats),
                f"at most attendees and spare_seats together ({fleet.seats_wanted}), or the doors would never open",
            ),
        )
    if fleet.heartbeat_grace_s < 2 * fleet.heartbeat_s:
        yield (
            ("fleet.heartbeat_grace_s", "fleet.heartbeat_s"),
            Fault(
                "fleet.heartbeat_grace_s",
                f"{fleet.heartbeat_grace_s:g}",
                f"at least twice heartbeat_s ({2 * fleet.heartbeat_s:g}), so that one late report does no harm",
            ),
        )
    if fleet.launch_backoff_max_s < fleet.launch_backoff_s:
        yield (
            ("fleet.launch_backoff_max_s", "fleet.launch_backoff_s"),
            Fault(
                "fleet.launch_backoff_max_s",
                f"{fleet.launch_backoff_max_s:g}",
                f"at least launch_backoff_s ({fleet.launch_backoff_s:g})",
            ),
        )
    if fleet.provider == "local" and (needed := fleet.ships_wanted * ports_per_ship(file)) > fleet.ports.count:
        yield (
            ("fleet.ports", "fleet.attendees", "fleet.spare_seats", "fleet.seats_per_ship", "project"),
            Fault(
                "fleet.ports",
                f"{fleet.ports}, which is {fleet.ports.count} ports",
                f"at least {needed} ports: {PORTS_PER_WORKSPACE} for each port of the workspaces of "
                f"{fleet.ships_wanted} ships with {fleet.seats_per_ship} seats and {len(file.projects)} projects, and "
                f"{PORTS_SPARE} to spare on each",
            ),
        )


def _listeners(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    listen = file.listen
    listeners = {"public": listen.public, "admin": listen.admin, "control": listen.control}
    if listen.http is not None:
        listeners["http"] = listen.http
    for (name, one), (other_name, other) in combinations(listeners.items(), 2):
        if _overlap(one, other):
            yield (
                (f"listen.{name}", f"listen.{other_name}"),
                Fault(
                    f"listen.{other_name}", f"{other}, where listen.{name} ({one}) is too", "a port that is not in use"
                ),
            )
    for name, one in listeners.items():
        if file.fleet.provider == "local" and one.port in file.fleet.ports:
            yield (
                (f"listen.{name}", "fleet.ports"),
                Fault(f"listen.{name}", f"{one}, in the range of fleet.ports", f"a port outside {file.fleet.ports}"),
            )


def _overlap(one: Listener, other: Listener) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    hosts = {one.host, other.host}
    local = "localhost" in hosts and one.loopback and other.loopback
    return len(hosts) == 1 or bool(hosts & WILDCARDS) or local


def _boundary(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    """The process runtime is no security boundary: whoever gets in is this machine's user."""
    if file.fleet.runtime != "process":
        return
    allowed = "a loopback address: the process runtime is no security boundary"
    if not file.event.public_address.loopback:
        yield (
            ("event.public_address", "fleet.runtime"),
            Fault("event.public_address", shown(str(file.event.public_address)), allowed, "http://localhost:8000"),
        )
    for name in ("public", "admin", "control", "http"):
        listener: Listener | None = getattr(file.listen, name)
        if listener is not None and not listener.loopback:
            yield (
                (f"listen.{name}", "fleet.runtime"),
                Fault(f"listen.{name}", str(listener), allowed, f"127.0.0.1:{listener.port}"),
            )


def _machines(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    """What ships on machines of their own need."""
    if file.fleet.provider != "ec2":
        return
    for key, allowed in ec2.missing(file.ec2):
        yield (
            (f"ec2.{key}", "fleet.provider"),
            Fault(f"ec2.{key}", "nothing", f'{allowed} (this key must be given for provider "ec2")'),
        )
    if file.fleet.runtime != "docker":
        yield (
            ("fleet.runtime", "fleet.provider"),
            Fault("fleet.runtime", shown(file.fleet.runtime), '"docker" on machines of Amazon EC2', '"docker"'),
        )
    if (needed := ports_per_ship(file)) > file.fleet.ports.count:
        yield (
            ("fleet.ports", "fleet.seats_per_ship", "fleet.provider", "project"),
            Fault(
                "fleet.ports",
                f"{file.fleet.ports}, which is {file.fleet.ports.count} ports",
                f"at least {needed} ports: {PORTS_PER_WORKSPACE} for each port of the workspaces of a ship with "
                f"{file.fleet.seats_per_ship} seats and {len(file.projects)} projects, and {PORTS_SPARE} to spare",
            ),
        )
    host = file.ec2.control_host or file.listen.control.host
    if is_loopback(host) or host in WILDCARDS:
        yield (
            ("ec2.control_host", "listen.control", "fleet.provider"),
            Fault("ec2.control_host", shown(host), "an address of the mux that ships on other machines reach"),
        )


def checked_files(file: EventFile, base: Path, environ: Mapping[str, str], wrong: Collection[str]) -> Iterator[Fault]:
    """Faults of the files and directories that the event file names."""
    for index, project in enumerate(file.projects):
        key = f"project[{index}]"
        where = "" if _wrong(f"{key}.name", wrong) else _whose(project)
        if file.fleet.runtime == "process" and not _wrong(f"{key}.image", wrong):
            yield from _directory(f"{key}.image", project.image, base, where)
        if project.secrets is not None and not _wrong(f"{key}.secrets", wrong):
            try:
                read_project_secrets(resolved(base, project.secrets), key=f"{key}.secrets")
            except ConfigError as error:
                yield from error.faults
    if file.auth.roster is not None and not _wrong("auth.roster", wrong):
        path = resolved(base, file.auth.roster)
        if not _is_file(path):
            yield Fault(
                "auth.roster",
                f"{shown(str(file.auth.roster))}, which is no file",
                "a CSV file that exists",
                _beside(path, str(file.auth.roster)),
            )
    yield from (fault for fault in checked_tls_files(file, base) if not _wrong(fault.key, wrong))
    data = resolved(base, file.data.directory)
    if not _wrong("data.directory", wrong) and _blocked(data):
        yield Fault("data.directory", shown(str(file.data.directory)), "a directory, or a path where one can be made")
    if file.auth.mode == "passcode" and not any(_wrong(f"auth.{key}", wrong) for key in ("mode", "passcode_file")):
        try:
            read_passcode(file, base, environ)
        except ConfigError as error:
            yield from error.faults


def _wrong(key: str, wrong: Collection[str]) -> bool:
    return any(_touches(key, bad) for bad in wrong)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _blocked(path: Path) -> bool:
    """Whether something that is no directory is in the way."""
    try:
        return next((not step.is_dir() for step in (path, *path.parents) if step.exists()), False)
    except OSError:
        return True


def _directory(key: str, image: str, base: Path, where: str) -> Iterator[Fault]:
    path = resolved(base, image)
    if not _is_directory(path):
        found = f"{shown(image)}, which is no directory"
        yield Fault(key, found, "a directory that exists", _beside(path, image), where)
    elif not _is_directory(path / "home"):
        found = f"{shown(image)}, which has no directory home/ in it"
        yield Fault(key, found, "a directory whose home/ holds the attendees' files", None, where)


def _beside(path: Path, named: str) -> str | None:
    """What was named, with the last part that is most like what is there in its place."""
    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), NAMES_MAX)]
    except (OSError, ValueError):
        return None
    near = nearest(path.name, names)
    return shown(str(Path(named).with_name(near))) if near and Path(named).name else None
