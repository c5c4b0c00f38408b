"""A real registry for tests: Debian's ``docker-registry`` on a free port, and images pushed to it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.parts import require

USER, PASSWORD = "puller", "correct-horse"
HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuuPoaPXzWjiVz4HaNq2LJXksWbO79E.S6\n"
"""The password as bcrypt has it: the only form that the registry takes."""
START_S_MAX = 60.0
LOOK_S = 0.05
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Server:
    """A registry that runs. ``root`` holds its storage."""

    port: int
    root: Path

    @property
    def host(self) -> str:
        """As image references write it."""
        return f"127.0.0.1:{self.port}"


def free_port() -> int:
    """A port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def registry(
    root: Path,
    *,
    auth: Mapping[str, Any] | None = None,
    tls: tuple[Path, Path] | None = None,
    everywhere: bool = False,
) -> Iterator[Server]:
    """Runs a registry.

    Args:
        root: an empty directory.
        auth: its ``auth`` section; None for none.
        tls: chain and key; None for plain HTTP.
        everywhere: listen on every address of this machine, for containers; on loopback alone otherwise.
    """
    program = require("docker-registry")
    root.mkdir(parents=True, exist_ok=True)
    for _ in range(5):  # another program may take the port before the registry does
        server = Server(free_port(), root)
        process = _start(program, server, auth, tls, "" if everywhere else "127.0.0.1")
        try:
            if _answers(process, server.port):
                yield server
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError(f"no registry here: {(root / 'log').read_text()[-2000:]}")


def login(root: Path) -> dict[str, Any]:
    """The ``auth`` section that wants USER and PASSWORD."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "htpasswd").write_text(HTPASSWD)
    return {"htpasswd": {"realm": "tests", "path": str(root / "htpasswd")}}


def _start(
    program: str, server: Server, auth: Mapping[str, Any] | None, tls: tuple[Path, Path] | None, address: str
) -> subprocess.Popen[bytes]:
    http: dict[str, Any] = {"addr": f"{address}:{server.port}"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(server.root / "storage")}, "delete": {"enabled": True}},
        "http": http,
        **({"auth": auth} if auth else {}),
    }
    path = server.root / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with (server.root / "log").open("wb") as log:
        return subprocess.Popen([program, "serve", str(path)], stdout=log, stderr=subprocess.STDOUT)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_S_MAX
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(LOOK_S)
    return False


class Pusher:
    """Puts images into a registry; the least that the protocol takes."""

    def __init__(self, http: aiohttp.ClientSession, base: str, **options: Any) -> None:
        self._http = http
        self._base = base
        self._options = options

    async def blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Upload a blob; its descriptor."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        async with self._http.post(f"{self._base}/v2/{repository}/blobs/uploads/", **self._options) as response:
            assert response.status == 202, await response.text()
            place = response.headers["Location"]
        mark = "&" if "?" in place else "?"
        async with self._http.put(f"{place}{mark}digest={digest}", data=content, **self._options) as response:
            assert response.status == 201, await response.text()
        return {"digest": digest, "size": len(content)}

    async def manifest(self, repository: str, name: str, media_type: str, document: Mapping[str, Any]) -> str:
        """Upload a manifest under a tag or digest; its digest."""
        raw = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        async with self._http.put(
            f"{self._base}/v2/{repository}/manifests/{name or digest}",
            data=raw,
            headers={"Content-Type": media_type},
            **self._options,
        ) as response:
            assert response.status == 201, await response.text()
        return digest

    async def image(
        self, repository: str, tag: str = "", *, layers: Sequence[bytes] = (b"a layer",), architecture: str = "amd64"
    ) -> str:
        """Push an image; its digest."""
        config = await self.blob(
            repository, json.dumps({"os": "linux", "architecture": architecture, "rootfs": {}}).encode()
        )
        sent = [await self.blob(repository, gzip.compress(layer, mtime=0)) for layer in layers]
        return await self.manifest(
            repository,
            tag,
            IMAGE_TYPE,
            {
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer} for layer in sent],
            },
        )

    async def index(self, repository: str, tag: str, digests: Mapping[str, str]) -> str:
        """Push an index of images by architecture; its digest."""
        entries = []
        for architecture, digest in digests.items():
            async with self._http.head(
                f"{self._base}/v2/{repository}/manifests/{digest}", headers={"Accept": IMAGE_TYPE}, **self._options
            ) as response:
                size = int(response.headers["Content-Length"])
            entries.append(
                {
                    "mediaType": IMAGE_TYPE,
                    "digest": digest,
                    "size": size,
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
        return await self.manifest(repository, tag, INDEX_TYPE, {"manifests": entries})
