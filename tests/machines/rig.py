"""A fleet of machines in containers: a mux with provider ec2, the strict fake EC2, a registry that wants a login.

What stands in for a cloud is the fake with its metadata service, and the engine that its instances are containers of.
Everything else is real: the mux as people start it, systemd, cloud-init, Docker inside, the agent under its unit, the
image pulled by digest.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mux.providers.agent_bundle import agent_bundle
from tests.docker_engine import ROOT, Engine
from tests.e2e.harness import MuxUnderTest, free_ports
from tests.fakes.ec2 import KEY_ID, REGION, SHIPS_GROUP, Catalog, Cloud, Settings, State, api_of, served
from tests.fakes.ec2.catalog import Subnet
from tests.fakes.ec2.imds import Imds, imds_served
from tests.fakes.rig import IMAGE as MACHINE_IMAGE
from tests.fakes.rig import SUBNET_A
from tests.images.conftest import build
from tests.machines import debs
from tests.machines.containers import Containers, Rig, docker, instance_at, new_network
from tests.parts import missing, require
from tests.registry.server import PASSWORD, USER, Server, login, registry

BAKE = ROOT / "images" / "ship" / "bake"
BAKE_S_MAX = 900
"""Debian's root from its archive on a machine that runs other tests; half a minute on a quiet one."""
IMAGE = "mux-tests/ship"
BOOT_S_MAX = 600.0
"""From nothing to a ready seat: half a minute on a quiet machine."""
LOOK_S = 0.5
PROMPT = Settings(boot_s=(0, 0), stop_s=(0, 0), end_s=(0, 0), unlisted_s=(0.5, 0.5), lag_s=(0.5, 0.5))
"""A cloud whose machines take as long as their containers do; its listings lag behind."""

_T = TypeVar("_T")

EVENT = """\
[event]
name = "{event}"
title = "Camp of the machines"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "{image}"

[fleet]
provider = "ec2"
runtime = "docker"
attendees = 1
seats_per_ship = 1
ready_seats = 1
heartbeat_s = 1.0
heartbeat_grace_s = 60.0
boot_deadline_s = 900
listing_s = 1.0

[ec2]
region = "{region}"
endpoint = "{endpoint}"
image = "{machine_image}"
instance_types = ["m6i.2xlarge"]
subnets = ["{subnet}"]
security_groups = ["{group}"]

[warming]
stall_s = 900

[timetable]
warm_at = "2099-01-01 08:00"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "{control}"

[registry]
config = "registry.json"

[data]
directory = "data"
"""


class Inside(StrEnum):
    """What a machine's image brings."""

    NOTHING = "neither engine nor agent"
    ENGINE = "the engine"
    AGENT = "the engine and the agent"
    IMAGE = "the engine, the agent, and what workspaces are made from"


ENGINE_PACKAGES = ("docker.io", "containerd", "runc")
_NO_AGENT = "rm -rf /opt/mux /etc/systemd/system/mux-ship* /etc/systemd/system/*.wants/mux-ship*"
TAKEN_OUT = {
    Inside.ENGINE: _NO_AGENT,
    # iptables stays: without it no metadata service would be where a cloud has it.
    Inside.NOTHING: f"{_NO_AGENT}; dpkg --purge --force-depends {' '.join(ENGINE_PACKAGES)}",
}
"""How an image becomes one that brings less."""


def baked(engine: Engine, without: str = "") -> str:
    """The name of the baked root in an engine; made once for a recipe and an agent.

    Args:
        engine: which one.
        without: a script that takes something out of it.
    """
    recipe = _recipe()
    with tempfile.TemporaryDirectory(prefix="mux-bake-") as work:
        bundle = agent_bundle(Path(work) / "agent")
        mark = hashlib.sha256(recipe + BAKE.read_bytes() + bundle.sha256.encode()).hexdigest()[:12]
        name = f"{IMAGE}:{mark}"
        if not _present(engine, name):
            tar = Path(work) / "ship.tar"
            _bake(bundle.path, tar)
            for old in (IMAGE, f"{IMAGE}-bare"):
                for identity in engine.run_docker("images", "--quiet", old).split():
                    with contextlib.suppress(AssertionError):
                        engine.run_docker("rmi", "--force", identity)
            engine.run_docker("import", str(tar), name)
    if not without:
        return name
    bare = f"{IMAGE}-bare:{mark}-{hashlib.sha256(without.encode()).hexdigest()[:12]}"
    if not _present(engine, bare):
        made = engine.run_docker("run", "--detach", name, "/bin/sh", "-c", without)
        assert engine.run_docker("wait", made) == "0", engine.run_docker("logs", made)
        engine.run_docker("commit", made, bare)
        engine.run_docker("rm", made)
    return bare


def _recipe() -> bytes:
    require("mmdebstrap", "as root on Debian: tools/setup docker")
    return subprocess.run([BAKE, "--recipe"], capture_output=True, check=True).stdout


def _bake(agent: Path, tar: Path, *words: str, **environment: str) -> str:
    """Run the script, on a root that is kept; what it said."""
    base = ROOT / ".cache" / f"ship-bookworm-{hashlib.sha256(_recipe()).hexdigest()[:12]}.tar"
    done = subprocess.run(
        [BAKE, "--agent", agent, "--base", base, *words, "--tar", tar],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=BAKE_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@contextlib.contextmanager
def baked_with(reference: str, login: Path) -> Iterator[Path]:
    """``/var/lib/docker`` of a root with a workspace image inside, unpacked from its archive.

    Importing the archive would not do: an engine that keeps its images on overlays takes the whiteouts in there for
    its own.

    Args:
        reference: the workspace image.
        login: directory of a Docker configuration that may pull it.
    """
    # Where the checkout is, an engine can make overlays: the tests' own does.
    with tempfile.TemporaryDirectory(prefix="bake-", dir=ROOT / ".cache", ignore_cleanup_errors=True) as made:
        work = Path(made)
        tar = work / "ship.tar"
        bundle = agent_bundle(work / "agent")
        _bake(bundle.path, tar, "--image", reference, TMPDIR=made, DOCKER_CONFIG=str(login))
        assert not list(work.glob("bake.*")), "its working directory is gone"
        words = ("--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", str(tar), "./var/lib/docker")
        subprocess.run(["tar", "-C", made, *words], check=True)
        yield work / "var" / "lib" / "docker"


def _present(engine: Engine, name: str) -> bool:
    return bool(engine.run_docker("images", "--quiet", name))


class Harbour(MuxUnderTest):
    """A mux whose ships are machines; to be opened, and closed in any case.

    Args:
        directory: for everything; its path must be short (Unix sockets).
        engine: that machines run on.
        server: the registry.
        image: the baked root.
        docker: what the engine inside of its one machine has already; empty for nothing.
        stocked: the workspaces' image is among that, under loopback's name: a machine has it inside, or not at all.
        packages: the engine's, which machines install; None where they have it.
    """

    cloud: Cloud
    machines: Containers
    registry: str
    metadata: str
    control: str
    endpoint: str

    def __init__(
        self,
        directory: Path,
        engine: Engine,
        server: Server,
        image: str,
        *,
        docker: str = "",
        stocked: bool = False,
        packages: Path | None = None,
    ) -> None:
        super().__init__(directory)
        self.machines_engine = engine
        self.server = server
        self._image = image
        self._docker = docker
        self._stocked = stocked
        self._packages = packages
        self._parts = contextlib.AsyncExitStack()

    async def open(self, digest: str) -> None:
        """Start everything, with workspaces from the image of that digest; returns when the mux answers."""
        network = await new_network(self.machines_engine.host)
        self.registry = f"{network.gateway}:{self.server.port}"
        subnet = Subnet(SUBNET_A, Catalog.zones[0], network.cidr)
        self.cloud = Cloud(PROMPT, Catalog(subnets=(subnet,)))
        # cloud-init 22.4 asks without a token where it does not know that it is on EC2.
        imds = Imds(self.cloud, partial(instance_at, self.cloud), legacy_without_token=True)
        enter = self._parts.enter_async_context
        api = await enter(api_of(self.cloud, follow=True))
        self.endpoint = await enter(served(api))
        self.metadata = (await enter(imds_served(imds, network.gateway))).removeprefix("http://")
        sources = await enter(debs.served(self._packages, network.gateway)) if self._packages else ""
        host = self.machines_engine.host
        rig = Rig(self._image, self.directory, self.metadata, self.registry, host, network, sources, self._docker)
        rig.write()
        self.machines = Containers(rig, self.cloud)
        self._parts.push_async_callback(self.machines.close)
        public, admin, control = free_ports(3)
        self.public, self.admin = f"http://localhost:{public}", f"http://127.0.0.1:{admin}"
        self.control = f"{network.gateway}:{control}"
        self.config.write_text(
            EVENT.format(
                event=self.event,
                public=public,
                admin=admin,
                control=self.control,
                image=f"{self.server.host if self._stocked else self.registry}/intro@{digest}",
                region=REGION,
                endpoint=self.endpoint,
                machine_image=MACHINE_IMAGE,
                subnet=SUBNET_A,
                group=SHIPS_GROUP,
            )
        )
        (self.directory / "registry.json").write_text(json.dumps({"auths": {self.registry: {"auth": auth()}}}))
        self.environment |= {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": "not a secret"}
        await self.start()

    async def close(self) -> None:
        """Stop the mux, end every machine."""
        try:
            await self.stop()
        finally:
            await self._parts.aclose()

    @property
    def calls(self) -> Counter[str]:
        """How often the mux asked EC2 for what, without listings."""
        changing = (call.action for call in self.cloud.calls if not call.action.startswith("Describe"))
        return Counter(changing)

    # --- the one machine ---------------------------------------------------------------------------------------------

    async def machine(self) -> str:
        """The container of the only machine, which is called as its instance."""
        (instance,) = (one for one in self.cloud.instances.values() if one.state is not State.TERMINATED)
        return instance.id

    async def inside(self, *words: str) -> str:
        """Run a program on the machine; its output. Raises DockerError when it fails."""
        return await docker(self.machines_engine.host, "exec", await self.machine(), *words)

    async def workspace(self) -> str:
        """The container of the only workspace, in the machine's own engine."""
        (identity,) = (await self.inside("docker", "ps", "--quiet", "--no-trunc")).split()
        return identity

    async def warm(self) -> None:
        """Have a seat made ready, as an organizer does: `mux fleet warm` watches until it is."""
        await self.run("fleet", "warm", "1", "--yes", "--timeout", str(BOOT_S_MAX))
        await self.until_ready()

    async def until_ready(self) -> None:
        """Wait until a seat is ready or somebody's, all of it healthy, and its ship linked."""

        def fulfilled(status: dict[str, Any]) -> bool:
            return status["seats_ready"] + status["seats_assigned"] >= 1 and all(
                ship["linked"] and ship["phase"] == "1 of 1 workspaces are healthy" for ship in status["ships"]
            )

        await self.until(fulfilled, self.status)

    async def until(self, fulfilled: Callable[[_T], bool], look: Callable[[], Awaitable[_T]]) -> None:
        """Wait until what one sees is as it should be."""
        try:
            async with asyncio.timeout(BOOT_S_MAX):
                while not fulfilled(await look()):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not so after {BOOT_S_MAX:.0f} s:\n{await self.account()}") from None

    async def account(self) -> str:
        """As in the base, and what the machine has to say."""
        parts = [await super().account()]
        for words in (
            ("systemctl", "--no-pager", "--failed"),
            ("tail", "-n", "40", "/var/log/cloud-init-output.log"),
            ("journalctl", "--no-pager", "-n", "60", "-u", "mux-ship", "-u", "mux-ship-join", "-u", "docker"),
        ):
            try:
                parts.append(await self.inside(*words))
            except Exception as error:
                parts.append(f"{words}: {error!r}")
        return "\n".join(parts)


def auth() -> str:
    """The registry's login, as Docker's configurations have it."""
    return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextlib.contextmanager
def stocked_registry(engine: Engine, directory: Path, image: str = "mux/example") -> Iterator[tuple[Server, str]]:
    """A registry that wants a login, with one image in it; and the image's digest."""
    root = directory / "registry"
    with registry(root, auth=login(root), everywhere=True) as server:
        here = directory / "docker"
        here.mkdir()
        (here / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth()}}}))
        name = f"{server.host}/intro:latest"
        engine.run_docker("tag", image, name)
        try:
            engine.run_docker("--config", str(here), "push", "--quiet", name)
            (known,) = [
                each.partition("@")[2]
                for each in json.loads(engine.run_docker("inspect", name))[0]["RepoDigests"]
                if each.startswith(server.host)
            ]
            yield server, known
        finally:
            engine.run_docker("rmi", name)


def needs_containers() -> None:
    """Skip where a machine cannot be a container, or fail with ``CI`` set."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        missing("control groups of version 1", "a systemd container cannot make its own under version 2 here")


@contextlib.asynccontextmanager
async def harbour(engine: Engine, inside: Inside = Inside.AGENT) -> AsyncIterator[Harbour]:
    """A mux without ships: the fleet's time has not come.

    Args:
        engine: that machines run on.
        inside: what machines have. The workspaces' image is had by one machine, which then has no way to fetch it.
    """
    needs_containers()
    build(engine)
    image = baked(engine, TAKEN_OUT.get(inside, ""))
    # Not below pytest's own directory: a Unix socket's path is short.
    with (
        tempfile.TemporaryDirectory(prefix="mux-rig-") as made,
        contextlib.ExitStack() as parts,
        stocked_registry(engine, Path(made)) as (server, digest),
    ):
        docker_directory, stocked, packages = "", False, None
        if inside is Inside.IMAGE:
            with_image = baked_with(f"{server.host}/intro@{digest}", Path(made) / "docker")
            docker_directory, stocked = str(parts.enter_context(with_image)), True
        elif inside is Inside.NOTHING:
            packages = Path(made) / "packages"
            debs.fetch(packages, ENGINE_PACKAGES)
        opened = Harbour(Path(made), engine, server, image, docker=docker_directory, stocked=stocked, packages=packages)
        try:
            await opened.open(digest)
            yield opened
        finally:
            await opened.close()
