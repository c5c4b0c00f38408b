"""What stands behind an instance of the fake EC2: a container of a Docker engine that runs systemd from a baked root.

The fake decides what becomes of an instance; this carries it out, one thing after the other: an address of an instance
that has ended may be the next one's. The container has the instance's address, and no more than a machine needs of its
kernel: see `Rig.machine_options`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.ec2 import Cloud, Instance, State
from tests.fakes.in_turn import InTurn

LABEL = "rig.network"
STOP_S = 30
METADATA = "169.254.169.254"
SYSTEMD = (
    *("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"),
    *("--stop-signal", "SIGRTMIN+3", "--env", "container=docker"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"),
)
"""Of ``docker run``: what systemd needs."""


class DockerError(Exception):
    """A ``docker`` command failed."""


async def docker(host: str, *words: str) -> str:
    """One ``docker`` command; its output. Raises DockerError."""
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
        raise DockerError(f"docker {words[0]}: {err.decode(errors='replace')[-500:]}")
    return out.decode(errors="replace").strip()


@dataclass(frozen=True)
class Network:
    """Where machines are.

    Args:
        name: in the engine; containers bear it as a label.
        cidr: its addresses.
        gateway: this machine's address in it.
    """

    name: str
    cidr: str
    gateway: str


async def new_network(host: str) -> Network:
    """A network with addresses that may be given to containers: the engine wants to be told which it has."""
    name = f"rig-{secrets.token_hex(4)}"
    await docker(host, "network", "create", name)
    free = json.loads(await docker(host, "network", "inspect", name))[0]["IPAM"]["Config"][0]
    await docker(host, "network", "rm", name)
    await docker(host, "network", "create", "--subnet", free["Subnet"], "--gateway", free["Gateway"], name)
    return Network(name, free["Subnet"], free["Gateway"])


@dataclass(frozen=True)
class Rig:
    """What machines are made of.

    Args:
        image: the baked root, in the engine.
        directory: for files that are mounted into machines.
        metadata: ``address:port`` of the metadata service.
        registry: ``address:port`` of the registry, which speaks plain HTTP.
        host: of the engine, as DOCKER_HOST wants it.
        network: where machines are.
        sources: ``sources.list`` of machines, if they install packages; empty for the image's own.
        docker: a directory for the engine inside of the one machine that there will be; empty for a new one for each.
    """

    image: str
    directory: Path
    metadata: str
    registry: str
    host: str
    network: Network
    sources: str = ""
    docker: str = ""

    def write(self) -> None:
        """The files that machines see."""
        # Not where it is not needed: cloud-init then looks for mirrors, of which nothing here knows a name.
        apt = "apt: {preserve_sources_list: true}\n" if self.sources else ""
        (self.directory / "machine.cfg").write_text(
            "datasource_list: [Ec2]\ndatasource:\n  Ec2:\n    strict_id: false\n    timeout: 10\n    max_wait: 60\n"
            f'    metadata_urls: ["http://{METADATA}:80"]\n'
            f"{apt}"
        )
        (self.directory / "sources.list").write_text(self.sources)
        (self.directory / "daemon.json").write_text(
            json.dumps({"live-restore": True, "insecure-registries": [self.registry]})
        )

    def machine_options(self) -> list[str]:
        """Of ``docker run``: systemd's needs, and Docker's inside."""
        return [
            *SYSTEMD,
            # The packet filter's, and what it takes to enter a container (docker exec).
            *("--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
            # Nothing has a name here: cloud-init asks for three before it looks for its metadata.
            *("--dns", "127.0.0.1", "--dns-opt", "timeout:1", "--dns-opt", "attempts:1"),
            # Not on an overlay: the engine inside makes overlays of its own.
            *("--volume", f"{self.docker}:/var/lib/docker" if self.docker else "/var/lib/docker"),
            *("--volume", f"{self.directory}/machine.cfg:/etc/cloud/cloud.cfg.d/99-machine.cfg:ro"),
            *("--volume", f"{self.directory}/daemon.json:/etc/docker/daemon.json:ro"),
            *(("--volume", f"{self.directory}/sources.list:/etc/apt/sources.list:ro") if self.sources else ()),
        ]

    def init(self) -> str:
        """A machine's first process: systemd, once its metadata service is where a cloud has it."""
        return (
            f"iptables -t nat -A OUTPUT -d {METADATA} -p tcp --dport 80 -j DNAT --to-destination {self.metadata}; "
            "exec /sbin/init"
        )


def instance_at(cloud: Cloud, address: str) -> Instance | None:
    """The instance with that address."""
    here = (one for one in cloud.instances.values() if one.address == address)
    return next((one for one in here if one.state is not State.TERMINATED), None)


class Containers:
    """Gives every instance of a cloud its container; to be closed, after which none is left.

    Args:
        rig: what they are made of.
        cloud: whose instances.
    """

    def __init__(self, rig: Rig, cloud: Cloud) -> None:
        self._rig = rig
        self._cloud = cloud
        self._doing = InTurn("machines")
        cloud.behind.on_running = lambda instance: self._doing.add(self._run, instance)
        cloud.behind.on_stopped = lambda instance: self._doing.add(self._stop, instance)
        cloud.behind.on_terminated = lambda instance: self._doing.add(self._remove, instance)

    async def settled(self) -> None:
        """Wait until everything that was to be done is done. Raises what went wrong."""
        await self._doing.settled()

    async def names(self) -> list[str]:
        """Of all containers, which are the ids of their instances."""
        filters = ("--filter", f"label={LABEL}={self._rig.network.name}")
        return (await self._docker("ps", "--all", *filters, "--format", "{{.Names}}")).split()

    async def take_image(self, name: str, image: str) -> None:
        """Stop a container; from now on machines are made of what it was."""
        await self._stop(self._cloud.instances[name])
        await self._docker("commit", name, image)
        self._rig = replace(self._rig, image=image)

    async def close(self) -> None:
        """Remove every container, and the network."""
        await self._doing.close()
        for name in await self.names():
            await self._docker("rm", "--force", "--volumes", name)
        await self._docker("network", "rm", self._rig.network.name)

    async def _run(self, instance: Instance) -> None:
        if instance.boots > 1:
            await self._docker("start", instance.id)
            return
        network = self._rig.network.name
        await self._docker(
            *("run", "--detach", "--name", instance.id, "--hostname", f"ip-{instance.address.replace('.', '-')}"),
            *("--network", network, "--ip", instance.address, "--label", f"{LABEL}={network}"),
            *self._rig.machine_options(),
            *("--entrypoint", "/bin/sh", self._rig.image, "-c", self._rig.init()),
        )

    async def _stop(self, instance: Instance) -> None:
        await self._docker("stop", "--time", str(STOP_S), instance.id)

    async def _remove(self, instance: Instance) -> None:
        if instance.id in await self.names():
            await self._docker("rm", "--force", "--volumes", instance.id)

    async def _docker(self, *words: str) -> str:
        return await docker(self._rig.host, *words)
