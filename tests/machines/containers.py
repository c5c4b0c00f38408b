"""Provider `containers`, for tests: a machine is a container of a Docker engine that runs systemd from a baked root.

It is a `mux.providers.base.Provider` over the engine's command line, and gives machines the user-data of real ones. The
container has no more than a machine needs of its kernel: see `Rig.machine_options`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mux.core.model import Machine, MachineStatus, ShipId
from mux.providers.base import LaunchOrder, ProviderError, Reaped
from mux.providers.user_data import user_data

VARIABLE = "RIG"
"""Names the file with the `Rig`, for the control process."""
LABEL_SHIP, LABEL_EVENT = "rig.ship", "rig.event"
PORTS = (20_000, 64)
STOP_S = 30
METADATA = "169.254.169.254"


@dataclass(frozen=True)
class Rig:
    """What machines are made of.

    Args:
        image: the baked root, in the engine.
        directory: for files that are mounted into machines, and their user-data.
        metadata: ``address:port`` of the metadata service.
        registry: ``address:port`` of the registry, which speaks plain HTTP.
        host: of the engine, as DOCKER_HOST wants it.
    """

    image: str
    directory: str
    metadata: str
    registry: str
    host: str

    def save(self) -> Path:
        """Where the control process reads it."""
        directory = Path(self.directory)
        (directory / "machine.cfg").write_text(
            "datasource_list: [Ec2]\ndatasource:\n  Ec2:\n    strict_id: false\n    timeout: 10\n    max_wait: 60\n"
            f'    metadata_urls: ["http://{METADATA}:80"]\n'
        )
        (directory / "daemon.json").write_text(
            json.dumps({"live-restore": True, "insecure-registries": [self.registry]})
        )
        (directory / "rig.json").write_text(json.dumps(asdict(self)))
        return directory / "rig.json"

    def machine_options(self) -> list[str]:
        """Of ``docker run``: systemd's needs, and Docker's inside."""
        directory = Path(self.directory)
        return [
            # systemd's, the packet filter's, and what it takes to enter a container (docker exec).
            *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
            *("--security-opt", "seccomp=unconfined"),
            *("--stop-signal", "SIGRTMIN+3", "--env", "container=docker", "--dns", "127.0.0.1"),
            *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"),
            *("--volume", "/var/lib/docker"),  # not on an overlay: the engine inside makes overlays of its own
            *("--volume", f"{directory}/machine.cfg:/etc/cloud/cloud.cfg.d/99-machine.cfg:ro"),
            *("--volume", f"{directory}/daemon.json:/etc/docker/daemon.json:ro"),
        ]

    def init(self) -> str:
        """A machine's first process: systemd, once its metadata service is where a cloud has it."""
        return (
            f"iptables -t nat -A OUTPUT -d {METADATA} -p tcp --dport 80 -j DNAT --to-destination {self.metadata}; "
            "exec /sbin/init"
        )


async def docker(host: str, *words: str) -> str:
    """One ``docker`` command; its output. Raises ProviderError."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *words,
        env=os.environ | {"DOCKER_HOST": host},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise ProviderError(f"docker {words[0]}: {err.decode(errors='replace')[-500:]}")
    return out.decode(errors="replace").strip()


class ContainerProvider:
    """See the module."""

    name = "containers"

    def __init__(self, rig: Rig, event: str) -> None:
        self._rig = rig
        self._event = event
        self._locks: dict[ShipId, asyncio.Lock] = {}

    @classmethod
    def of_environment(cls, event: str) -> ContainerProvider:
        """As the control process makes it."""
        return cls(Rig(**json.loads(Path(os.environ[VARIABLE]).read_text())), event)

    async def open(self) -> None:
        """Machines are where they are."""

    async def close(self) -> None:
        """They go on."""

    async def launch(self, order: LaunchOrder) -> Machine:
        async with self._locks.setdefault(order.ship, asyncio.Lock()):
            if order.ship not in await self.list():
                path = Path(self._rig.directory) / f"{order.ship}.user-data"
                path.write_bytes(user_data(order))
                await self._docker(
                    *("run", "--detach", "--name", self._container(order.ship), "--hostname", order.ship),
                    *("--label", f"{LABEL_SHIP}={order.ship}", "--label", f"{LABEL_EVENT}={self._event}"),
                    *self._rig.machine_options(),
                    *("--entrypoint", "/bin/sh", self._rig.image, "-c", self._rig.init()),
                )
            return (await self.list())[order.ship]

    async def start(self, order: LaunchOrder) -> None:
        await self._docker("start", self._container(order.ship))

    async def park(self, ship: ShipId) -> None:
        if ship in await self.list():
            await self._docker("stop", "--time", str(STOP_S), self._container(ship))

    async def terminate(self, ship: ShipId) -> None:
        await self._docker("rm", "--force", "--volumes", self._container(ship))

    async def list(self) -> Mapping[ShipId, Machine]:
        identities = (
            await self._docker("ps", "--all", "--quiet", "--filter", f"label={LABEL_EVENT}={self._event}")
        ).split()
        if not identities:
            return {}
        return {machine.ship: machine for machine in machines(await self._docker("inspect", *identities))}

    async def reap(self, *, foreign: bool) -> Reaped:
        found = await self.list()
        for ship in found:
            await self.terminate(ship)
        return Reaped(len(found))

    def _container(self, ship: ShipId) -> str:
        return f"{self._event}-{ship}"

    async def _docker(self, *words: str) -> str:
        return await docker(self._rig.host, *words)


def machines(inspected: str) -> Sequence[Machine]:
    """What ``docker inspect`` says of machines."""
    found = []
    for each in json.loads(inspected):
        ship = ShipId(each["Config"]["Labels"][LABEL_SHIP])
        status = MachineStatus.RUNNING if each["State"]["Running"] else MachineStatus.STOPPED
        found.append(Machine(ship, status, each["NetworkSettings"]["IPAddress"], *PORTS))
    return found
