"""The runtime `docker` under test: images built in the tests' own engine, workspaces looked at from outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import WorkspaceSpec
from ship_agent.runtimes.docker import DockerRuntime
from tests.docker_engine import Engine
from tests.ship_agent.images import SERVER, project_with
from tests.ship_agent.runtimes.conftest import Lab
from tests.ship_agent.runtimes.docker_image import BASE, HOME, HOOKS, build_context, root_archive

COMMAND = ["python3", "-I", "-S", "-u", "{home}/server.py", "{port}", "{base_path}"]
IMAGE = "mux-test-workspace"


class DockerLab(Lab):
    """A lab whose runtime drives Docker."""

    def __init__(self, directory: Path, engine: Engine, *, forbidden: Sequence[str] = ()) -> None:
        self.engine = engine
        self._forbidden = forbidden
        # No bound of connections: a stream of events holds one.
        self._connector = aiohttp.UnixConnector(str(engine.socket), limit=0)
        self.docker = aiodocker.Docker(url="unix://localhost", connector=self._connector)
        super().__init__(directory)

    def make(self) -> DockerRuntime:
        return DockerRuntime(
            self.directory / "ship",
            event="camp",
            ship="ship-1",
            socket_path=str(self.engine.socket),
            forbidden=self._forbidden,
        )

    @property
    def scope(self) -> str:
        """What marks this ship's things in the engine."""
        assert isinstance(self.runtime, DockerRuntime)
        return self.runtime.scope

    async def close(self) -> None:
        await super().close()
        await self.docker.close()
        await self._connector.close()

    async def project(
        self,
        *,
        hooks: dict[str, str] | None = None,
        text: str = "as given",
        dockerfile: str = "",
        user: str = "jovyan",
        **changes: Any,
    ) -> Project:
        """A project with an image that holds the server, a file and hooks; ``dockerfile``: further lines of it."""
        await self.have_base()
        files = {"home/server.py": (SERVER, 0o644), "home/notes.txt": (text, 0o644)}
        for name, script in (hooks or {}).items():
            files[f"hooks/{name}"] = (script, 0o755 if script.startswith("#!") else 0o644)
        lines = [
            f"FROM {BASE}",
            f"COPY --chown=1000:100 home {HOME}",
            *([f"COPY hooks {HOOKS}"] if hooks else []),
            f"ENV HOME={HOME} PATH=/usr/local/bin:/usr/bin:/bin HOST=0.0.0.0",
            f"WORKDIR {HOME}",
            'ENTRYPOINT ["start.sh"]',
            dockerfile,
            f"USER {user}",
        ]
        context = build_context("\n".join(lines), files)
        # By content, and never deleted: tests of other workers use the same engine, and its cache.
        name = f"{IMAGE}:{hashlib.sha256(context.getvalue()).hexdigest()[:16]}"
        built = await self.docker.images.build(fileobj=context, tag=name, encoding="identity", rm=True, forcerm=True)
        digest = next(line["aux"]["ID"] for line in built if "ID" in line.get("aux", {}))
        return project_with({"image": name, "digest": digest, "command": COMMAND, **changes})

    async def have_base(self) -> None:
        """The base image, made once for the engine."""
        try:
            await self.docker.images.inspect(BASE)
        except DockerError:
            repository, _, tag = BASE.partition(":")
            async with self.docker._query(
                "images/create",
                "POST",
                params={"fromSrc": "-", "repo": repository, "tag": tag},
                headers={"Content-Type": "application/x-tar"},
                data=root_archive(),
            ) as answer:
                await answer.read()

    async def container(self, spec: WorkspaceSpec) -> dict[str, Any]:
        """What the engine says of a workspace's container."""
        found: dict[str, Any] = await self.docker.containers.container(f"mux-{self.scope}-{spec.id}").show()
        return found

    async def answers(self, spec: WorkspaceSpec) -> int:
        await super().answers(spec)
        return int((await self.container(spec))["State"]["Pid"])

    async def processes_of(self, spec: WorkspaceSpec, inside: list[int]) -> list[int]:
        top = await self.docker.containers.container(f"mux-{self.scope}-{spec.id}").top()
        return [int(row[top["Titles"].index("PID")]) for row in top["Processes"]]

    def living(self) -> list[int]:
        return [container["Pid"] for container in self._containers() if container["Running"]]

    def left_over(self) -> list[str]:
        """Everything of this ship that the engine still holds."""
        wanted = json.dumps({"label": [f"mux.scope={self.scope}"]})
        found = [each["Id"] for each in self._ask(f"/containers/json?all=1&filters={wanted}")]
        found += [each["Name"] for each in self._ask(f"/networks?filters={wanted}")]
        found += [each["Name"] for each in self._ask(f"/volumes?filters={wanted}")["Volumes"] or []]
        return found

    def _containers(self) -> Iterator[dict[str, Any]]:
        wanted = json.dumps({"label": [f"mux.scope={self.scope}"]})
        for each in self._ask(f"/containers/json?all=1&filters={wanted}"):
            yield self._ask(f"/containers/{each['Id']}/json")["State"]

    def _ask(self, path: str) -> Any:
        return self.engine.ask("GET", path.replace(" ", "").replace('"', "%22"))
