"""What images of containers give an attendee to begin with: taken out of the image once, kept by digest.

Owns ``DIR/contents``: one directory for each digest and place in the image, complete or not there at all, named by the
64 hex digits of the one and eight of the other's SHA-256. The place is part of it since older workspaces of an image
may have their files elsewhere than newer ones.

Rules: what was taken out before the machine last booted is taken out again, since a crash may lose what was not yet on
the disk. It is never changed: workspaces are merged with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path

import structlog

from ship_agent.files.base import Content
from ship_agent.files.names import label_of
from ship_agent.files.sync import SyncFiles
from ship_agent.files.ways import Contents
from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import WorkspaceSpec
from ship_agent.runtimes.docker_client import EngineClient
from ship_agent.runtimes.image_config import Image
from ship_agent.runtimes.images import TEMPORARY, remove_tree, translated
from ship_agent.runtimes.shim import process_mark

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{8}")


class DockerContents:
    """The contents of one ship's images.

    Args:
        engine: the client.
        directory: ``DIR/contents``.
    """

    def __init__(self, engine: EngineClient, directory: Path) -> None:
        self._engine = engine
        self._directory = directory
        self._contents = Contents()
        self._locks: dict[str, asyncio.Lock] = {}

    async def open(self) -> None:
        """Clear what cannot be trusted. Raises RuntimeFailure."""
        await asyncio.to_thread(self._clear)

    async def bring_files(self, spec: WorkspaceSpec, directory: Path, image: Image) -> None:
        """Have an attendee's files: the image's the first time, afterwards merged with theirs. Raises RuntimeFailure.

        Args:
            spec: the workspace, about to be started.
            directory: its own.
            image: that it starts on.
        """
        content = await self._get(spec.project, spec.digest, image)
        with translated("the attendee's files"):
            brought = await asyncio.to_thread(SyncFiles(directory).bring_to, content)
        if brought.besides:
            log.info("files changed by both, the image's put beside", workspace=spec.id, files=len(brought.besides))

    async def start_over(self, spec: WorkspaceSpec, directory: Path, image: Image, path: bytes) -> bytes | None:
        """Put the image's version of one file back, or of all if ``path`` is empty; see the runtime's protocol."""
        content = await self._get(spec.project, spec.digest, image)
        way = SyncFiles(directory)
        with translated("the attendee's files"):
            if path:
                return await asyncio.to_thread(way.start_over, path, content)
            return await asyncio.to_thread(way.reset, content)

    async def _get(self, project: Project, digest: str, image: Image) -> Content:
        directory = self._directory / f"{_hex(digest)}.{hashlib.sha256(image.content.encode()).hexdigest()[:8]}"
        async with self._locks.setdefault(digest, asyncio.Lock()):
            if not await asyncio.to_thread(directory.is_dir):
                fresh = await asyncio.to_thread(self._begin, directory.name)
                await self._engine.seed(f"content {directory.name}", fresh, image)
                with translated("the image's content"):
                    await asyncio.to_thread(fresh.rename, directory)
            with translated("the image's content"):
                label = label_of(project.image, digest)
                return await asyncio.to_thread(self._contents.get, directory, digest, label)

    async def forget(self, digest: str) -> None:
        """Delete a content that nothing needs. Raises RuntimeFailure."""
        async with self._locks.setdefault(digest, asyncio.Lock()):
            await asyncio.to_thread(self._delete, digest)
        self._locks.pop(digest, None)

    def _begin(self, name: str) -> Path:
        with translated("the image's content"):
            fresh = self._directory / f"{TEMPORARY}{name}"
            remove_tree(fresh)
            fresh.mkdir(mode=0o755)
            return fresh

    def _delete(self, digest: str) -> None:
        with translated("the images' contents"):
            for path in list(self._directory.glob(f"{_hex(digest)}.*")):
                debris = path.with_name(f"{TEMPORARY}{path.name}")
                remove_tree(debris)
                path.rename(debris)
                remove_tree(debris)

    def _clear(self) -> None:
        with translated("the images' contents"):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            marker = self._directory / ".boot"
            boot = process_mark(os.getpid()).partition(":")[0]
            same_boot = marker.exists() and marker.read_text(encoding="utf-8") == boot
            for path in self._directory.iterdir():
                if path != marker and not (same_boot and _NAME.fullmatch(path.name)):
                    remove_tree(path)
            if not same_boot:
                marker.write_text(boot, encoding="utf-8")


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
