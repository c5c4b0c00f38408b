"""Images in a registry that wants a login: made by the engine and gone from it again, so that pulls have work to do.

Of what is there, anything can be lost: a layer, a manifest, the login.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any

import aiohttp

from mux.registry.manifest import ACCEPT
from tests.docker_engine import Engine
from tests.e2e.pushes.gate import Gate
from tests.e2e.pushes.images import LAB, SERVER, Content, Images, Kind
from tests.images.conftest import build
from tests.registry.server import HTPASSWD, IMAGE_TYPE, PASSWORD, USER, Pusher
from tests.ship_agent.runtimes.docker_image import HOME, HOOKS, build_context, have_base

BUILD_S_MAX = 300.0
REPOSITORY = "intro"
AUTHORIZATION = aiohttp.encode_basic_auth(USER, PASSWORD)
CONFIG = "config.json"
"""A file of Docker's with the login: the engine's client has it, and the event file names it."""


class Shelf(Images):
    """The images of one test's registry.

    Args:
        engine: makes and pushes them.
        gate: the way to the registry, for everybody.
        kind: what they are made of.
        config: an empty directory, for Docker's `CONFIG`.
        users: the registry's htpasswd, which it reads again when it has changed.
    """

    def __init__(self, engine: Engine, gate: Gate, kind: Kind, config: Path, users: Path) -> None:
        super().__init__(kind, gate)
        self._engine = engine
        self._made: list[str] = []
        self._users = users
        self.logins = config / CONFIG
        login = {gate.host: {"auth": AUTHORIZATION.removeprefix("Basic ")}}
        self.logins.write_text(json.dumps({"auths": login}))

    def name(self, tag: str) -> str:
        return f"{self.gate.host}/{REPOSITORY}:{tag}"

    async def have_base(self) -> None:
        if self.kind.base == LAB.base:
            await asyncio.to_thread(build, self._engine)
        else:
            await asyncio.to_thread(have_base, self._engine.host)

    async def make(self, tag: str, content: Content) -> None:
        files = {f"home/{name}": (text, 0o644) for name, text in content.home.items()}
        files["contents.py"] = (SERVER.read_text(), 0o644)
        files |= {f"hooks/{name}": (script, 0o755) for name, script in content.hooks.items()}
        copied = [f"COPY --chown=1000:100 home/ {HOME}/"]
        if content.hooks:
            copied.append(f"COPY hooks/ {HOOKS}/")
        if content.ballast:
            files["ballast"] = (content.ballast, 0o644)
            copied.append("COPY ballast /opt/ballast")
        dockerfile = [f"FROM {self.kind.base}", *self.kind.lines, "USER root", *copied, "USER 1000:100"]
        name = self.name(tag)
        await self._docker("build", "--quiet", "--tag", name, "-", sent=build_context("\n".join(dockerfile), files))
        await self._docker("push", "--quiet", name)
        self._made.append(name)

    async def forget(self, name: str) -> None:
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
        async with aiohttp.ClientSession(headers={"Authorization": AUTHORIZATION}) as http:
            pusher = Pusher(http, f"http://{self.gate.host}")
            config = {"os": "linux", "architecture": architecture, "rootfs": {}}
            config_blob = await pusher.blob(REPOSITORY, json.dumps(config).encode())
            layer = await pusher.blob(REPOSITORY, os.urandom(100))
            layer |= {"size": layer_bytes} if layer_bytes is not None else {}
            document = {
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config_blob},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}],
            }
            await pusher.manifest(REPOSITORY, tag, IMAGE_TYPE, document)
        return self.name(tag)

    async def lose_layer(self, tag: str) -> None:
        """Take the layer that only this image has out of the registry, which goes on naming it."""
        digest = (await self._ask("GET", f"manifests/{tag}"))["layers"][-1]["digest"]
        await self._ask("DELETE", f"blobs/{digest}")

    async def lose_manifest(self, tag: str) -> None:
        """Take an image's manifest out of the registry."""
        await self._ask("DELETE", f"manifests/{(await self._ask('HEAD', f'manifests/{tag}'))['digest']}")

    async def end_login(self) -> None:
        """From now on the registry knows somebody else alone."""
        self._users.write_text(HTPASSWD.replace(USER, f"not-{USER}", 1))

    async def renew_login(self) -> None:
        """The login is as it was."""
        self._users.write_text(HTPASSWD)

    async def clear(self) -> None:
        for name in self._made:
            await self.forget(name)

    async def _ask(self, method: str, path: str) -> dict[str, Any]:
        """What the registry says; with the digest of what it speaks of, if it tells it."""
        headers = {"Authorization": AUTHORIZATION, "Accept": ACCEPT}
        address = f"http://{self.gate.host}/v2/{REPOSITORY}/{path}"
        async with aiohttp.ClientSession(headers=headers) as http, http.request(method, address) as answer:
            answer.raise_for_status()
            found = json.loads(await answer.read() or b"{}")
            return {**found, "digest": answer.headers.get("Docker-Content-Digest", "")}

    async def _knows(self, name: str) -> bool:
        try:
            await self._docker("image", "inspect", name)
        except AssertionError:
            return False
        return True

    async def _docker(self, *words: str, sent: io.BytesIO | bytes = b"") -> str:
        own = {"DOCKER_HOST": self._engine.host, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.logins.parent)}
        process = await asyncio.create_subprocess_exec(
            "docker", *words,
            env=os.environ | own,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        content = sent if isinstance(sent, bytes) else sent.getvalue()
        async with asyncio.timeout(BUILD_S_MAX):
            out, err = await process.communicate(content)
        assert process.returncode == 0, f"docker {' '.join(words)}: {err.decode()[-2000:]}"
        return out.decode()
