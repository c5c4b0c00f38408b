"""What stands behind an instance of the fake EC2: a process of this machine, which boots as one and is its ship agent.

Nothing stands behind an instance unless somebody puts it there: a process, by this module; or a container with systemd
and cloud-init, by `tests.machines.containers`. A process takes a second to boot. It asks the metadata service of its
instance, runs the real user-data, joins the mux and has workspaces of the runtime `process`. What it has not is a
kernel and a network of its own. So its instance has an address of loopback, which workspaces answer at; the mux's name
leads to loopback, too; and the image of its workspaces lies on its disk from the beginning, as in a baked machine.

Rules: the fake decides what becomes of an instance, this carries it out, one thing after the other. A stop is a power
cut: nobody is asked, everything is killed, the disk stays. With its end an instance loses its disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from mux import __version__
from mux.providers import agent_process
from mux.providers.agent_process import AgentProcess
from ship_agent.runtimes.cgroups import remove_groups
from ship_agent.runtimes.images import ImageStore, copy_tree
from ship_agent.runtimes.tree import walk
from ship_agent.runtimes.workspace import Kept
from tests.docker_engine import ROOT
from tests.e2e.harness import kill, processes_of
from tests.fakes.ec2 import Catalog, Cloud, Instance
from tests.fakes.ec2.catalog import Subnet
from tests.fakes.ec2.imds import Imds, imds_served
from tests.fakes.in_turn import InTurn
from tests.fakes.rig import SUBNET_A, SUBNET_B

MACHINE = Path(__file__).with_name("agent_machine.py")
STATE = "var/lib/mux-ship"
"""The agent's directory on a machine's disk."""
LOOPBACK = "127.0.0.1"
NOWHERE = "127.255.255.254"
"""Nobody listens there."""
LOOK_S = 0.01


def subnets_here() -> tuple[Subnet, ...]:
    """Two subnets of loopback, in two zones; hardly ever those of another test that runs at the same time."""
    net = f"127.{random.randrange(64, 127)}.{random.randrange(256)}"
    return (
        Subnet(SUBNET_A, Catalog.zones[0], f"{net}.0/25"),
        Subnet(SUBNET_B, Catalog.zones[1], f"{net}.128/25"),
    )


class Agents:
    """Gives every instance of a cloud its process; to be entered, and left in any case: then nothing of them is there.

    Args:
        cloud: whose instances; in `subnets_here`.
        directory: of their disks.
        images: directories of workspace images that machines bring, by digest.

    ``mux_at`` is where the mux's name leads on machines that boot from now on.
    """

    def __init__(self, cloud: Cloud, directory: Path, images: Mapping[str, Path] | None = None) -> None:
        self.mux_at = LOOPBACK
        self.cloud = cloud
        self._directory = directory
        self._images = images or {}
        self._environment = agent_process.agent_environment(sys.executable, os.environ)
        self._running: dict[str, AgentProcess] = {}
        self._metadata: dict[str, str] = {}
        self._services = contextlib.AsyncExitStack()
        self._doing = InTurn("machines")
        cloud.behind.on_running = lambda instance: self._doing.add(self._boot, instance)
        cloud.behind.on_stopped = lambda instance: self._doing.add(self._cut_off, instance)
        cloud.behind.on_terminated = lambda instance: self._doing.add(self._remove, instance)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._doing.close()
        for instance in self.cloud.instances.values():
            await self._remove(instance)
        await self._services.aclose()

    async def settled(self) -> None:
        """Wait until everything that was to be done is done. Raises what went wrong."""
        await self._doing.settled()

    def disk(self, instance: str) -> Path:
        """Of an instance, by its id; what its process says is in ``agent.log``."""
        return self._directory / instance

    def agent(self, instance: str) -> AgentProcess:
        """The process of an instance that runs, by its id."""
        return self._running[instance]

    def account(self) -> str:
        """What the machines have to say."""
        logs = sorted(self._directory.glob("*/agent.log"))
        return "\n".join(f"--- {log.parent.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    async def _boot(self, instance: Instance) -> None:
        disk = self.disk(instance.id)
        if instance.id not in self._metadata:
            await asyncio.to_thread(self._make_disk, disk)
            imds = Imds(self.cloud, lambda _peer: instance)
            self._metadata[instance.id] = await self._services.enter_async_context(imds_served(imds, instance.address))
        words = [sys.executable, "-P", str(MACHINE), str(disk), self._metadata[instance.id], self.mux_at]
        self._running[instance.id] = await asyncio.to_thread(agent_process.spawn, words, disk, self._environment)

    def _make_disk(self, disk: Path) -> None:
        """What a baked machine brings: an agent of the mux's version, its units, and images of workspaces."""
        mux = disk / "opt/mux"
        (mux / "bin").mkdir(parents=True)
        (mux / "bin/ship-agent").symlink_to(Path(sys.executable).with_name("ship-agent"))
        (mux / "bundle.json").write_text(json.dumps({"version": __version__}))
        (mux / "systemd").symlink_to(ROOT / "deploy/systemd")
        (disk / STATE).mkdir(mode=0o700, parents=True)
        store = ImageStore(disk / STATE / "images")
        for digest, source in self._images.items():
            store.path(digest).mkdir(mode=0o700, parents=True)
            copy_tree(source, store.path(digest), walk(source, hashed=False))

    async def _cut_off(self, instance: Instance) -> None:
        agent = self._running.pop(instance.id, None)
        if agent is not None:
            agent.signal(signal.SIGKILL)
            while agent.ended() is None:
                await asyncio.sleep(LOOK_S)
        disk = self.disk(instance.id)
        while found := await asyncio.to_thread(processes_of, disk):
            await kill(found)
        await asyncio.to_thread(_remove_groups, disk)

    async def _remove(self, instance: Instance) -> None:
        await self._cut_off(instance)
        await asyncio.to_thread(shutil.rmtree, self.disk(instance.id), ignore_errors=True)


def _remove_groups(disk: Path) -> None:
    """A machine would take its control groups along."""
    for workspace in (disk / STATE / "workspaces").glob("*"):
        if (kept := Kept.load(workspace)) is not None:
            remove_groups(map(Path, kept.cgroups))
