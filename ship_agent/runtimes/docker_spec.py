"""What a container is created with: from a workspace's specification and what the engine says of its image.

Pure: values in, the engine's JSON out (Docker Engine API, ``POST /containers/create``). Owns what every container is
held to, and what a project may be allowed beyond that.

Rules: no capability, no new privileges, no swap, bounds on memory, processors, processes, files, /dev/shm and logs.
Whatever weakens that is named in the project's ``allow``; what is not named there is refused, never just done. Token
and secrets are in the environment, never in arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ship_agent.protocol.messages import Project
from ship_agent.runtimes import labextension
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.docker_command import LISTEN, container_port, start_of
from ship_agent.runtimes.image_config import Image, within
from ship_agent.runtimes.launch import port_variables
from ship_agent.runtimes.shared import variables

FILES_MAX = 8192
"""Open files of each process: far above a notebook's need, far below what starves the machine."""
SHM_FREE_BYTES = 64 << 20
"""What /dev/shm may have without an opt-in: the engine's own default."""
TMPFS_BYTES_MAX = 256 << 20
"""Bound of /tmp, /run and /var/tmp each where the root is read-only; it counts towards the memory limit."""
LOG_FILE_BYTES = 5 << 20
LOG_FILES = 2
"""Output kept of one run: two files of five megabytes, as for processes."""
ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
"""What a start as root needs to change owners, then its user, and to pass signals on. KILL ends at the container."""
SOCKET_INSIDE = "/var/run/docker.sock"
SHARED_INSIDE = "/shared"

LABEL = "mux."
"""First part of the labels of containers and networks."""
LABEL_SCOPE = "mux.scope"
LABEL_ROLE = "mux.role"
LABEL_WORKSPACE = "mux.workspace"
LABEL_SEAT = "mux.seat"

NOTEBOOK_FLAGS = "--NotebookApp.allow_origin='*' --NotebookApp.allow_remote_access=True"
"""What the contract of the kind ``camp`` has Jupyter started with."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container goes.

    Args:
        scope: marks what belongs to this ship.
        event, ship: for labels.
        home: directory on the ship with the attendee's files.
        listen: address on which its port is published.
        network: name of the seat's network; empty for the ship's own.
        address: the container's address in it.
        hosts: names and addresses that it may look up, where it can look up no others.
        dns: whether it may look up names at all.
        socket: path of the engine's socket, and its group.
        starts: which start of the workspace this is.
        init: have the engine add an init.
        ipv6: the ship's kernel has IPv6, which is to be off inside.
        extension: directory on the ship with JupyterLab's extension and Jupyter's settings; empty for none.
        shared: directories on the ship that it shares with its seat's other workspaces, by the project's names.
        volumes: directories of the home, by the places inside where the image wants volumes.
    """

    scope: str
    event: str
    ship: str
    home: str
    listen: str
    network: str
    address: str
    hosts: tuple[tuple[str, str], ...]
    dns: bool
    socket: tuple[str, int]
    starts: int
    init: bool = True
    ipv6: bool = True
    extension: str = ""
    shared: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)


def check_allowed(project: Project, image: Image) -> None:
    """Refuse what the project is not allowed. Raises RuntimeFailure, which another try does not change."""
    if image.starts_as_root and "root" not in project.allow:
        raise RuntimeFailure(
            "root_refused",
            f'the image of {project.name} starts as root; give it a USER, or put "root" into the project\'s allow',
        )
    if project.shm_bytes > SHM_FREE_BYTES and "shm" not in project.allow:
        raise RuntimeFailure(
            "shm_refused", f'{project.name} wants more than 64MiB of shm; put "shm" into the project\'s allow'
        )
    if "host_network" in project.allow and project.egress != "open":
        raise RuntimeFailure(
            "egress_refused",
            f"{project.name} is on the ship's own network, where no egress rule holds; drop one of both",
        )


def further_ports(spec: WorkspaceSpec) -> dict[str, int]:
    """The ports that programs inside must listen on to be found at the project's further ports, by name."""
    return dict(spec.ports if "host_network" in spec.project.allow else spec.project.ports)


def published(spec: WorkspaceSpec) -> dict[int, int]:
    """Ports inside, and the ship's ports that lead to them."""
    further = {inside: spec.ports[name] for name, inside in further_ports(spec).items() if name in spec.ports}
    return {**further, container_port(spec): spec.port}


def environment(spec: WorkspaceSpec, image: Image) -> dict[str, str]:
    """What is added to the image's own environment; the last ones cannot be overridden by the project."""
    base = spec.project.base_path
    # Where only the home can be written to, it is what programs must take for it.
    home = image.home if read_only_root(spec.project, image) else image.home_variable
    theirs = {name: value for name, value in spec.project.environment.items() if name != "HOME"}
    return {
        **({"NOTEBOOK_FLAGS": NOTEBOOK_FLAGS} if spec.project.kind == "camp" else {}),
        **labextension.known_prefix(spec.project),
        **theirs,
        **spec.secrets,
        **({"HOME": home} if home else {}),
        **_jupyter_paths(spec, image),
        "JUPYTER_TOKEN": spec.token,
        "MUX_TOKEN": spec.token,
        "MUX_WORKSPACE": spec.id,
        "MUX_PROJECT": spec.project.name,
        "MUX_PORT": str(container_port(spec)),
        "MUX_ADDRESS": LISTEN,
        "MUX_BASE_PATH": base,
        **port_variables(further_ports(spec)),
        "CONTAINER_AUTH_TOKEN": spec.token,
        "CONTAINER_BASE_URL": base.strip("/"),
    }


def _jupyter_paths(spec: WorkspaceSpec, image: Image) -> dict[str, str]:
    """Ours first: before what the project or the image has put there."""
    if spec.project.kind != "jupyter":
        return {}
    theirs = {"JUPYTER_PATH": image.jupyter_path, "JUPYTER_CONFIG_PATH": image.jupyter_config_path}
    return {
        name: labextension.jupyter_path(labextension.INSIDE, spec.project.environment.get(name, own))
        for name, own in theirs.items()
    }


def labels(spec: WorkspaceSpec, place: Place) -> dict[str, str]:
    """What a container says of itself: for people, and for an agent that finds it again."""
    return {
        LABEL_SCOPE: place.scope,
        LABEL_ROLE: "workspace",
        LABEL_WORKSPACE: spec.id,
        LABEL_SEAT: str(spec.seat),
        "mux.event": place.event,
        "mux.ship": place.ship,
        "mux.project": spec.project.name,
        "mux.epoch": str(spec.epoch),
        "mux.digest": spec.digest,
        "mux.port": str(spec.port),
        "mux.starts": str(place.starts),
        "mux.allow": " ".join(spec.project.allow),
    }


def container(spec: WorkspaceSpec, image: Image, place: Place) -> dict[str, Any]:
    """The body of ``POST /containers/create``. Raises RuntimeFailure for what is not allowed."""
    project, allow = spec.project, spec.project.allow
    check_allowed(project, image)
    host_network = "host_network" in allow
    config: dict[str, Any] = {
        "Image": image.id,
        "Env": [
            f"{name}={value}"
            for name, value in (environment(spec, image) | variables(shared_inside(place.shared))).items()
        ],
        "Labels": labels(spec, place),
        "HostConfig": host_config(spec, image, place),
        # Its own health is asked by the agent; a check in the image would only cost processors.
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
    }
    start = start_of(spec, image)
    if start.command is not None:
        config["Cmd"] = list(start.command)
    if start.entrypoint is not None:
        config["Entrypoint"] = list(start.entrypoint)
    # Jupyter shows, and people save, where it starts.
    if image.workdir in ("", "/") or (project.kind == "jupyter" and not within(image.workdir, image.home)):
        config["WorkingDir"] = image.home
    if "root" in allow:
        config["User"] = "0:0"
    if not host_network:
        config["Hostname"] = project.name
        config["ExposedPorts"] = {f"{port}/tcp": {} for port in published(spec)}
        config["NetworkingConfig"] = {
            "EndpointsConfig": {place.network: {"IPAMConfig": {"IPv4Address": place.address}}}
        }
    return config


def shared_inside(names: Iterable[str]) -> dict[str, str]:
    """Where shared directories are found inside."""
    return {name: f"{SHARED_INSIDE}/{name}" for name in names}


def host_config(spec: WorkspaceSpec, image: Image, place: Place) -> dict[str, Any]:
    """Limits, mounts, network and privileges."""
    project, allow = spec.project, spec.project.allow
    host_network = "host_network" in allow
    mounts: list[dict[str, Any]] = [
        {"Type": "bind", "Source": place.home, "Target": image.home, "BindOptions": {"Propagation": "rprivate"}}
    ]
    if place.extension and project.kind == "jupyter":
        bind = {"Type": "bind", "Source": place.extension, "Target": labextension.INSIDE, "ReadOnly": True}
        mounts.append(bind)
    shared = {inside: place.shared[name] for name, inside in shared_inside(place.shared).items()}
    mounts += [
        {"Type": "bind", "Source": source, "Target": inside, "BindOptions": {"Propagation": "rprivate"}}
        for inside, source in (*place.volumes.items(), *shared.items())
    ]
    config: dict[str, Any] = {
        "Memory": project.memory_bytes,
        # The same as memory: no swap, so that the limit is one.
        "MemorySwap": project.memory_bytes,
        "NanoCpus": int(project.cpus * 1_000_000_000),
        "PidsLimit": project.pids,
        "ShmSize": project.shm_bytes,
        "Ulimits": [
            {"Name": "nofile", "Soft": FILES_MAX, "Hard": FILES_MAX},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "CapDrop": ["ALL"],
        "CapAdd": capabilities(project),
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "IpcMode": "private",
        "PublishAllPorts": False,
        "RestartPolicy": {"Name": "no"},
        "Init": place.init and not image.has_init,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(LOG_FILE_BYTES), "max-file": str(LOG_FILES)},
        },
        "OomKillDisable": False,
        "NetworkMode": "host" if host_network else place.network,
    }
    if project.oci_runtime:
        config["Runtime"] = project.oci_runtime
    if read_only_root(project, image):
        config["ReadonlyRootfs"] = True
        options = f"rw,nosuid,nodev,size={min(TMPFS_BYTES_MAX, project.memory_bytes)}"
        config["Tmpfs"] = {
            "/tmp": f"{options},mode=1777",  # noqa: S108 - of the container
            "/var/tmp": f"{options},mode=1777",  # noqa: S108 - of the container
            "/run": f"{options},mode=1777",
        }
    if "docker_socket" in allow:
        path, group = place.socket
        mounts.append({"Type": "bind", "Source": path, "Target": SOCKET_INSIDE})
        config["GroupAdd"] = [str(group)]
    if not host_network:
        config["PortBindings"] = {
            f"{inside}/tcp": [{"HostIp": place.listen, "HostPort": str(port)}]
            for inside, port in published(spec).items()
        }
        if place.ipv6:
            config["Sysctls"] = {"net.ipv6.conf.all.disable_ipv6": "1"}
        config["ExtraHosts"] = [f"{name}:{address}" for name, address in place.hosts]
        if not place.dns:
            # Nobody answers there: a name that is not listed fails within a second, and no query leaves.
            config["Dns"] = ["127.0.0.1"]
            config["DnsOptions"] = ["timeout:1", "attempts:1"]
    config["Mounts"] = mounts
    return config


def capabilities(project: Project) -> list[str]:
    """What is given back after all capabilities are dropped."""
    named = [name.removeprefix("CAP_") for name in project.allow if name.startswith("CAP_")]
    return sorted({*named, *(ROOT_CAPABILITIES if "root" in project.allow else ())})


def read_only_root(project: Project, image: Image) -> bool:
    """Whether the container's root is read-only."""
    return project.root_filesystem == "read_only" or (project.root_filesystem == "auto" and image.read_only)


def seed(image: Image, scope: str, volume: str) -> dict[str, Any]:
    """A container that is created and never started: the engine copies the image's content into the new volume then."""
    return {
        "Image": image.id,
        "Cmd": ["true"],
        "Entrypoint": [],
        "Labels": {LABEL_SCOPE: scope, LABEL_ROLE: "seed"},
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "volume", "Source": volume, "Target": image.content}],
        },
    }


def seed_volume(name: str, directory: str, scope: str) -> dict[str, Any]:
    """A local volume that is a directory of the ship's."""
    return {
        "Name": name,
        "Driver": "local",
        "DriverOpts": {"type": "none", "o": "bind", "device": directory},
        "Labels": {LABEL_SCOPE: scope, LABEL_ROLE: "seed"},
    }
