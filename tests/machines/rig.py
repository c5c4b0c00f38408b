"""A fleet of machines in containers: a mux, a registry that wants a login, a metadata service, and the baked root.

What stands in for a cloud is the engine that starts the machines and the metadata service. Everything else is real:
systemd, cloud-init, Docker inside, the agent under its unit, the image pulled by digest.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ipaddress
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mux.providers.agent_bundle import agent_bundle
from tests.docker_engine import ROOT, Engine
from tests.e2e.harness import MuxUnderTest, free_ports
from tests.images.conftest import build
from tests.machines.containers import LABEL_EVENT, LABEL_SHIP, VARIABLE, Rig, docker, machines
from tests.machines.metadata import Metadata
from tests.parts import missing, require
from tests.registry.server import PASSWORD, USER, Server, login, registry

BAKE = ROOT / "images" / "ship" / "bake"
BAKE_S_MAX = 900
"""Debian's root from its archive on a machine that runs other tests; half a minute on a quiet one."""
IMAGE = "mux-tests/ship"
BOOT_S_MAX = 600.0
"""From nothing to a ready seat: half a minute on a quiet machine."""
LOOK_S = 0.5

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
provider = "local"
runtime = "docker"
attendees = 1
seats_per_ship = 1
ready_seats = 1
heartbeat_s = 1.0
heartbeat_grace_s = 60.0
boot_deadline_s = 900
listing_s = 1.0

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "{gateway}:{control}"

[registry]
config = "registry.json"

[data]
directory = "data"
"""


def baked(engine: Engine, agent: bool = True) -> str:
    """The name of the baked root in an engine; made once for a recipe and an agent.

    Args:
        engine: which one.
        agent: whether the image brings the agent.
    """
    require("mmdebstrap", "as root on Debian: tools/setup docker")
    recipe = subprocess.run([BAKE, "--recipe"], capture_output=True, check=True).stdout
    cache = ROOT / ".cache"
    base = cache / f"ship-bookworm-{hashlib.sha256(recipe).hexdigest()[:12]}.tar"
    with tempfile.TemporaryDirectory(prefix="mux-bake-") as work:
        bundle = agent_bundle(Path(work) / "agent")
        mark = hashlib.sha256(recipe + BAKE.read_bytes() + bundle.sha256.encode()).hexdigest()[:12]
        name = f"{IMAGE}:{mark}"
        if not _present(engine, name):
            tar = Path(work) / "ship.tar"
            done = subprocess.run(
                [BAKE, "--agent", bundle.path, "--base", base, "--tar", tar],
                capture_output=True,
                text=True,
                timeout=BAKE_S_MAX,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            for old in engine.run_docker("images", "--quiet", IMAGE).split():
                with contextlib.suppress(AssertionError):
                    engine.run_docker("rmi", "--force", old)
            engine.run_docker("import", str(tar), name)
    if agent:
        return name
    bare = f"{IMAGE}-bare:{mark}"
    if not _present(engine, bare):
        script = "rm -rf /opt/mux /etc/systemd/system/mux-ship* /etc/systemd/system/*.wants/mux-ship*"
        made = engine.run_docker("run", "--detach", name, "/bin/sh", "-c", script)
        engine.run_docker("wait", made)
        engine.run_docker("commit", made, bare)
        engine.run_docker("rm", made)
    return bare


def _present(engine: Engine, name: str) -> bool:
    return bool(engine.run_docker("images", "--quiet", name))


class Harbour(MuxUnderTest):
    """A mux whose ships are machines.

    Args:
        directory: for everything; its path must be short (Unix sockets).
        engine: that machines run on.
        server: the registry.
        image: the baked root.
    """

    def __init__(self, directory: Path, engine: Engine, server: Server, image: str) -> None:
        super().__init__(directory)
        self.machines_engine = engine
        (pool,) = engine.ask("GET", "/networks/bridge")["IPAM"]["Config"]
        # An engine of which nobody asked for another gateway does not say it: it is the first address.
        self.gateway = str(pool.get("Gateway") or ipaddress.ip_network(pool["Subnet"])[1])
        self.registry = f"{self.gateway}:{server.port}"
        self.server = server
        self.metadata = Metadata(self._user_data)
        self.metadata_address = ""
        self._image = image
        self._addresses: dict[str, str] = {}
        self.control = ""

    async def open(self, digest: str) -> None:
        """Start everything, with workspaces from the image of that digest; returns when the mux answers."""
        self.metadata_address = f"{self.gateway}:{await self.metadata.start(self.gateway)}"
        public, admin, control = free_ports(3)
        self.public, self.admin = f"http://localhost:{public}", f"http://127.0.0.1:{admin}"
        self.control = f"{self.gateway}:{control}"
        self.config.write_text(
            EVENT.format(
                event=self.event,
                public=public,
                admin=admin,
                control=control,
                gateway=self.gateway,
                image=f"{self.registry}/intro@{digest}",
            )
        )
        (self.directory / "registry.json").write_text(json.dumps({"auths": {self.registry: {"auth": auth()}}}))
        rig = Rig(self._image, str(self.directory), self.metadata_address, self.registry, self.machines_engine.host)
        self.environment |= {VARIABLE: str(rig.save()), "PYTHONPATH": str(ROOT)}
        self._replace_control_process()
        await self.start()

    async def close(self) -> None:
        """Stop the mux, end every machine."""
        try:
            await self._end_machines()  # at once: what the mux would do in order takes half a minute
            await self.stop()
        finally:
            await self.metadata.stop()
            await self._end_machines()

    async def _end_machines(self) -> None:
        for each in await self._inspected():
            await docker(self.machines_engine.host, "rm", "--force", "--volumes", each["Id"])

    def _replace_control_process(self) -> None:
        """Have `mux serve` start the control process of the rig: its supervisor starts it by `sys.executable`."""
        python = shlex.quote(sys.executable)
        interpreter = self.directory / "python"
        interpreter.write_text(
            "#!/bin/sh\n"
            'if [ "$2 $3" = "mux.daemon run" ]; then\n'
            f'  shift 2; exec {python} -m tests.machines.control "$@"\n'
            "fi\n"
            f'exec {python} "$@"\n'
        )
        interpreter.chmod(0o755)
        start = f"import sys; sys.executable = {str(interpreter)!r}; from mux.cli import main; sys.exit(main())"
        self.program = [sys.executable, "-c", start]

    async def _inspected(self) -> list[dict[str, Any]]:
        host = self.machines_engine.host
        identities = (await docker(host, "ps", "-aq", "--filter", f"label={LABEL_EVENT}={self.event}")).split()
        return list(json.loads(await docker(host, "inspect", *identities))) if identities else []

    def _user_data(self, caller: str) -> bytes | None:
        if caller not in self._addresses:
            ask = self.machines_engine.run_docker
            listed = ask("ps", "-q", "--filter", f"label={LABEL_EVENT}={self.event}").split()
            inspected = ask("inspect", *listed) if listed else "[]"
            self._addresses |= {machine.host: machine.ship for machine in machines(inspected)}
        ship = self._addresses.get(caller)
        return (self.directory / f"{ship}.user-data").read_bytes() if ship else None

    # --- the one machine ---------------------------------------------------------------------------------------------

    async def machine(self) -> str:
        """The container of the only machine."""
        (each,) = await self._inspected()
        return str(each["Id"])

    async def ship(self) -> str:
        """The ship that the only machine is."""
        (each,) = await self._inspected()
        return str(each["Config"]["Labels"][LABEL_SHIP])

    async def inside(self, *words: str) -> str:
        """Run a program on the machine; its output. Raises ProviderError when it fails."""
        return await docker(self.machines_engine.host, "exec", await self.machine(), *words)

    async def workspace(self) -> str:
        """The container of the only workspace, in the machine's own engine."""
        (identity,) = (await self.inside("docker", "ps", "--quiet", "--no-trunc")).split()
        return identity

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


@contextlib.asynccontextmanager
async def harbour(engine: Engine, *, agent: bool = True) -> AsyncIterator[Harbour]:
    """A mux, and its one machine booting."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        missing("control groups of version 1", "a systemd container cannot make its own under version 2 here")
    build(engine)
    image = baked(engine, agent)
    # Not below pytest's own directory: a Unix socket's path is short.
    with (
        tempfile.TemporaryDirectory(prefix="mux-rig-") as made,
        stocked_registry(engine, Path(made)) as (server, digest),
    ):
        opened = Harbour(Path(made), engine, server, image)
        try:
            await opened.open(digest)
            yield opened
        finally:
            await opened.close()
