"""What the images of projects resolve to: one digest each, which is what workspaces run.

Owns the walk over a directory image; images of containers are `engine_images`'. The ship walks its own copy
(`ship_agent.runtimes`); both hand their entries to `ship_agent.protocol.digest`, and a test holds the two walks
together. Blocking work runs in a thread.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from mux.config.engine_images import resolve_images_by_engine
from mux.config.faults import ConfigError, Fault, shown
from mux.config.schema import EventFile, resolved
from mux.core.model import ProjectName
from ship_agent.protocol.digest import TREE_ENTRIES_MAX, TreeEntry, is_ignored, link_leaves_tree, tree_digest

CHUNK_BYTES = 1 << 20
"""Read at once: large files do not fill the memory."""
_ALLOWED = "a directory of files, directories and links within it, all readable"


class _UnfitError(Exception):
    """Something in the tree is no part of an image. Arguments: path below the root, what it is."""


async def resolve_images(
    file: EventFile, base: Path, environ: Mapping[str, str] = os.environ
) -> Mapping[ProjectName, str]:
    """The digest of each project's image.

    Args:
        file: the event file.
        base: its directory.
        environ: ``DOCKER_HOST`` is read from it.

    Raises:
        ConfigError: images that are missing or unfit, all of them.
    """
    if file.fleet.runtime == "docker":
        return await resolve_images_by_engine(file, environ)
    return await asyncio.to_thread(_resolve_directories, file, base)


def _resolve_directories(file: EventFile, base: Path) -> Mapping[ProjectName, str]:
    digests: dict[ProjectName, str] = {}
    faults: list[Fault] = []
    known: dict[Path, str] = {}
    for index, project in enumerate(file.projects):
        root = resolved(base, project.image)
        try:
            if root not in known:
                known[root] = directory_digest(root)
            digests[ProjectName(project.name)] = known[root]
        except _UnfitError as unfit:
            path, found = unfit.args
            where = f"project {shown(project.name)}"
            place = f"{shown(project.image)}, where {shown(path)} is " if path else f"{shown(project.image)}, which is "
            faults.append(Fault(f"project[{index}].image", place + found, _ALLOWED, None, where))
    if faults:
        raise ConfigError(faults)
    return digests


def directory_digest(root: Path) -> str:
    """The digest of a directory image; the same as the ship computes of its copy."""
    return tree_digest(_entries(root))


def _entries(root: Path) -> Iterator[TreeEntry]:
    """Every entry below ``root``; links are read, never followed."""
    count = 0
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            names = sorted(place.name for place in (root / directory).iterdir())
        except OSError as error:
            raise _UnfitError(directory, _reason(error, missing="no directory")) from None
        for name in names:
            if is_ignored(name):
                continue
            count += 1
            if count > TREE_ENTRIES_MAX:
                raise _UnfitError("", f"more than {TREE_ENTRIES_MAX} entries")
            path = f"{directory}/{name}" if directory else name
            entry = _entry(root, path)
            if entry.kind == "dir":
                pending.append(path)
            yield entry


def _entry(root: Path, path: str) -> TreeEntry:
    place = root / path
    try:
        found = place.lstat()
        if stat.S_ISDIR(found.st_mode):
            return TreeEntry(path, "dir")
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(place)  # noqa: PTH115 - Path.readlink would normalise what is written
            if link_leaves_tree(path, target):
                raise _UnfitError(path, "a link that may lead out of it")
            return TreeEntry(path, "link", target=target)
        if stat.S_ISREG(found.st_mode):
            return TreeEntry(path, "file", executable=bool(found.st_mode & stat.S_IXUSR), content=_content(place))
    except OSError as error:
        raise _UnfitError(path, _reason(error, missing="gone while it was read")) from None
    raise _UnfitError(path, "neither file, directory nor link")


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    # Not following a link and not blocking on a FIFO that took the file's place since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _reason(error: OSError, *, missing: str) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return missing
    return (error.strerror or "not readable").lower()
