"""Images that are pushed: in a registry, made by the engine and gone from it again, so that a pull has something to do.

Three kinds: `LIGHT` serves files as JupyterLab's contents API does and starts in a moment; `LAB` is the example image,
with JupyterLab. An image is one of them and one layer more. `PROCESS` is `LIGHT` without Docker, from directories.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.docker_engine import Engine
from tests.e2e.pushes.gate import Gate
from tests.images.conftest import build
from tests.registry.server import IMAGE_TYPE, Pusher
from tests.ship_agent.runtimes.docker_image import BASE, HOME, HOOKS, build_context, have_base

SERVER = Path(__file__).parents[1] / "lost" / "contents.py"
BUILD_S_MAX = 300.0
NOTES = "notes.txt"
"""A file of the image that attendees leave as it is; its text is the image's tag."""


@dataclass(frozen=True)
class Kind:
    """What images are made of.

    Args:
        name: for people.
        base: the image below.
        lines: of each Dockerfile.
        command: a line for the project's table.
    """

    name: str
    base: str
    lines: tuple[str, ...] = ()
    command: str = ""


LIGHT = Kind(
    "a small server",
    BASE,
    (
        f"COPY --chown=1000:100 contents.py {HOME}/contents.py",
        f"ENV HOME={HOME} PATH=/usr/local/bin:/usr/bin:/bin HOST=0.0.0.0",
        f"WORKDIR {HOME}",
        'ENTRYPOINT ["start.sh"]',
    ),
    'command = ["python3", "-I", "-S", "-u", "{{home}}/contents.py"]',
)
LAB = Kind("JupyterLab", "mux/example")
PROCESS = Kind("a small server, as processes", "", command=LIGHT.command)


class Directories:
    """The images of one test where no engine is: directories, which are copied to ships instead of pulled.

    Args:
        directory: that they lie in.
    """

    kind = PROCESS

    def __init__(self, directory: Path) -> None:
        self.gate = Gate(0)
        """Nobody goes through it."""
        self._directory = directory

    def name(self, tag: str) -> str:
        """As `mux push` takes it."""
        return str(self._directory / tag)

    async def have_base(self) -> None:
        """There is nothing below them."""

    async def put(
        self,
        tag: str,
        *,
        hooks: Mapping[str, str] | None = None,
        home: Mapping[str, str] | None = None,
        layer_bytes: int = 0,
    ) -> str:
        """Make an image; its name. For the arguments see `Shelf.put`."""
        files = {f"home/{name}": text for name, text in {NOTES: tag, **(home or {})}.items()}
        files["home/contents.py"] = SERVER.read_text()
        files |= {f"start-notebook.d/{name}": script for name, script in (hooks or {}).items()}
        if layer_bytes:
            files["home/ballast"] = secrets.token_hex(layer_bytes)
        for name, text in files.items():
            file = self._directory / tag / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if name.startswith("start-notebook.d/") else 0o644)
        return self.name(tag)

    async def forget(self, name: str) -> None:
        """Ships know what they have by its digest."""

    async def clear(self) -> None:
        """They are gone with their directory."""


class Shelf:
    """The images of one test's registry.

    Args:
        engine: makes and pushes them.
        gate: the way to the registry, for everybody.
        kind: what they are made of.
    """

    def __init__(self, engine: Engine, gate: Gate, kind: Kind) -> None:
        self._engine = engine
        self.gate = gate
        self.kind = kind
        self._made: list[str] = []

    def name(self, tag: str) -> str:
        """The reference of an image."""
        return f"{self.gate.host}/intro:{tag}"

    async def have_base(self) -> None:
        """Have what every image stands on."""
        if self.kind is LAB:
            await asyncio.to_thread(build, self._engine)
        else:
            await asyncio.to_thread(have_base, self._engine.host)

    async def put(
        self,
        tag: str,
        *,
        hooks: Mapping[str, str] | None = None,
        home: Mapping[str, str] | None = None,
        layer_bytes: int = 0,
    ) -> str:
        """Make an image and push it; its reference.

        Args:
            tag: its name, and the text of `NOTES` in it.
            hooks: scripts by name, for start-notebook.d.
            home: further files of the attendees', by name.
            layer_bytes: size of a layer that cannot be compressed, for pulls that take a while.
        """
        files = {f"home/{name}": (text, 0o644) for name, text in {NOTES: tag, **(home or {})}.items()}
        files["contents.py"] = (SERVER.read_text(), 0o644)
        files |= {f"hooks/{name}": (script, 0o755) for name, script in (hooks or {}).items()}
        copied = [f"COPY --chown=1000:100 home/ {HOME}/"]
        if hooks:
            copied.append(f"COPY hooks/ {HOOKS}/")
        if layer_bytes:
            files["ballast"] = (secrets.token_hex(layer_bytes), 0o644)  # two characters a byte: half of it is air
            copied.append("COPY ballast /opt/ballast")
        dockerfile = [f"FROM {self.kind.base}", *self.kind.lines, "USER root", *copied, "USER 1000:100"]
        name = self.name(tag)
        await self._docker("build", "--quiet", "--tag", name, "-", sent=build_context("\n".join(dockerfile), files))
        await self._docker("push", "--quiet", name)
        self._made.append(name)
        return name

    async def forget(self, name: str) -> None:
        """Take an image out of the engine, so that it has to be pulled."""
        if await self._knows(name):
            identity = await self._docker("image", "inspect", "--format", "{{.Id}}", name)
            await self._docker("image", "rm", "--force", identity.strip())

    async def put_by_hand(self, tag: str, *, architecture: str = "amd64", layer_bytes: int | None = None) -> str:
        """An image that no engine has made: a manifest with a layer of a few bytes; its reference.

        Args:
            tag: its name.
            architecture: what it says that it is for.
            layer_bytes: what it says that its layer has; None for the truth.
        """
        async with aiohttp.ClientSession() as http:
            pusher = Pusher(http, f"http://{self.gate.host}")
            config = {"os": "linux", "architecture": architecture, "rootfs": {}}
            config_blob = await pusher.blob("intro", json.dumps(config).encode())
            layer = await pusher.blob("intro", os.urandom(100))
            layer |= {"size": layer_bytes} if layer_bytes is not None else {}
            document = {
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config_blob},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}],
            }
            await pusher.manifest("intro", tag, IMAGE_TYPE, document)
        return self.name(tag)

    async def clear(self) -> None:
        """Take everything out of the engine."""
        for name in self._made:
            await self.forget(name)

    async def _knows(self, name: str) -> bool:
        try:
            await self._docker("image", "inspect", name)
        except AssertionError:
            return False
        return True

    async def _docker(self, *words: str, sent: io.BytesIO | bytes = b"") -> str:
        process = await asyncio.create_subprocess_exec(
            "docker", *words,
            env=os.environ | {"DOCKER_HOST": self._engine.host, "DOCKER_BUILDKIT": "0"},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        content = sent if isinstance(sent, bytes) else sent.getvalue()
        async with asyncio.timeout(BUILD_S_MAX):
            out, err = await process.communicate(content)
        assert process.returncode == 0, f"docker {' '.join(words)}: {err.decode()[-2000:]}"
        return out.decode()
