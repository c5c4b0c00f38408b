"""A machine that is baked as Packer does it: launched from a plain image, given the script, stopped, an image taken."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mux.providers.agent_bundle import agent_bundle
from tests.docker_engine import ROOT, Engine
from tests.fakes.ec2 import State, client
from tests.fakes.rig import machine
from tests.images.conftest import build
from tests.machines import debs
from tests.machines.containers import docker
from tests.machines.rig import (
    BAKE,
    ENGINE_PACKAGES,
    TAKEN_OUT,
    Harbour,
    Inside,
    auth,
    baked,
    needs_containers,
    stocked_registry,
)

IMAGE = "mux-tests/ship-here"


class Bakery(Harbour):
    """A mux beside one machine that is no ship; what is made of it, ships are then launched from."""

    digest: str

    async def launch(self, user_data: str) -> str:
        """A machine of the account that is not the mux's; its instance, once cloud-init is done."""
        async with client("ec2", self.endpoint) as ec2:
            answer = await ec2.run_instances(**machine(UserData=user_data))
        (instance,) = answer["Instances"]
        await self.until(bool, self.machines.names)
        await self.machines.settled()
        await self.inside("cloud-init", "status", "--wait")
        return str(instance["InstanceId"])

    async def bake(self) -> str:
        """Have the script turn the machine into one to take an image of; what it said."""
        name = await self.machine()
        login = self.directory / "config.json"
        login.write_text(json.dumps({"auths": {self.registry: {"auth": auth()}}}))
        bundle = agent_bundle(self.directory / "agent")
        host = self.machines_engine.host
        await self.inside("mkdir", "-p", "/root/.docker")
        for source, target in (
            (login, "/root/.docker/config.json"),
            (bundle.path, "/tmp/agent.tar.gz"),
            (BAKE, "/tmp/bake"),
        ):
            await docker(host, "cp", str(source), f"{name}:{target}")
        words = ("--agent", "/tmp/agent.tar.gz", "--image", f"{self.registry}/intro@{self.digest}")
        said = await self.inside("sh", "-c", 'bash /tmp/bake --here "$@" 2>&1', "sh", *words)
        await self.inside("rm", "-f", "/tmp/agent.tar.gz", "/tmp/bake")
        return said

    async def take_image(self) -> None:
        """End the machine; from now on machines are launched from what it was."""
        name = await self.machine()
        await self.machines.take_image(name, IMAGE)
        async with client("ec2", self.endpoint) as ec2:
            await ec2.terminate_instances(InstanceIds=[name])
        await self.machines.settled()
        assert self.cloud.instances[name].state is State.TERMINATED


@asynccontextmanager
async def bakery(engine: Engine) -> AsyncIterator[Bakery]:
    """A mux without ships, in an account whose machine image has neither engine nor agent."""
    needs_containers()
    build(engine)
    image = baked(engine, TAKEN_OUT[Inside.NOTHING])
    # The engine inside makes overlays where the checkout is; a Unix socket's path is short.
    with (
        tempfile.TemporaryDirectory(prefix="mux-rig-") as made,
        tempfile.TemporaryDirectory(prefix="here-", dir=ROOT / ".cache", ignore_cleanup_errors=True) as inner,
        stocked_registry(engine, Path(made)) as (server, digest),
    ):
        packages = Path(made) / "packages"
        debs.fetch(packages, ENGINE_PACKAGES)
        opened = Bakery(Path(made), engine, server, image, docker=inner, packages=packages)
        opened.digest = digest
        try:
            await opened.open(digest)
            yield opened
        finally:
            await opened.close()
            engine.run_docker("rmi", "--force", IMAGE)
