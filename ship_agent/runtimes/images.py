"""Directory images on a ship: copied whole and verified, kept by digest.

Owns ``DIR/images``: one directory for each digest, named by its 64 hex digits, complete or not there at all. Blocking:
call it in a thread.

Rules: a copy is made under a temporary name, hashed as it lies there, and renamed. What was written before the machine
last booted is hashed again before it is trusted, since a crash may lose what was not yet on the disk.
"""

from __future__ import annotations

import errno
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ship_agent.files.base import FilesFailure
from ship_agent.protocol.digest import TreeEntry, tree_digest
from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.runtimes.tree import TreeError, walk

TEMPORARY = ".new-"
"""First part of names of what is being made; whatever bears it at a start is debris."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class ImageStore:
    """The images of one ship.

    Args:
        directory: ``DIR/images``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, boot: str) -> None:
        """Clear debris; after another boot than ``boot``, drop images that are not what their name says."""
        with translated("the images"):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for debris in self._directory.glob(f"{TEMPORARY}*"):
                remove_tree(debris)
            marker = self._directory / ".boot"
            if not marker.exists() or marker.read_text(encoding="utf-8") != boot:
                for digest in self.digests():
                    if not self._is_whole(digest):
                        self.forget(digest)
                marker.write_text(boot, encoding="utf-8")

    def digests(self) -> frozenset[str]:
        """What is here."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except OSError:
            return frozenset()
        return frozenset(f"sha256:{name}" for name in names if not name.startswith("."))

    def path(self, digest: str) -> Path:
        """Where an image is, or would be."""
        return self._directory / digest.removeprefix("sha256:")

    def pull(self, project: Project, digest: str) -> None:
        """Copy a project's image here, unless it is. Raises RuntimeFailure."""
        if self.path(digest).is_dir():
            return
        source = Path(project.image)
        if not source.is_absolute() or not source.is_dir():
            raise RuntimeFailure(
                "image_missing",
                f"the image of {project.name}, {project.image}, is not a directory on this ship; put it back",
            )
        if not (source / "home").is_dir():
            raise RuntimeFailure(
                "image_invalid", f"the image of {project.name}, {project.image}, has no directory home/; make one"
            )
        temporary = self._directory / f"{TEMPORARY}{uuid4().hex}"
        try:
            with translated(f"the image of {project.name}"):
                temporary.mkdir(mode=0o700)
                copy_tree(source, temporary, walk(source, hashed=False))
                if tree_digest(walk(temporary)) != digest:
                    raise RuntimeFailure(
                        "image_changed",
                        f"{project.image} has changed since it was read; `mux push` it again, or run `mux apply`",
                    )
                temporary.rename(self.path(digest))
        except RuntimeFailure:
            remove_tree(temporary)
            raise

    def forget(self, digest: str) -> None:
        """Delete an image. One that is not here is fine. Raises RuntimeFailure."""
        with translated("the images"):
            debris = self._directory / f"{TEMPORARY}{uuid4().hex}"
            try:
                self.path(digest).rename(debris)
            except FileNotFoundError:
                return
            remove_tree(debris)

    def _is_whole(self, digest: str) -> bool:
        try:
            return tree_digest(walk(self.path(digest))) == digest
        except (OSError, TreeError):
            return False


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the errors of files into sentences for people."""
    try:
        yield
    except TreeError as error:
        raise RuntimeFailure("image_invalid", str(error)) from error
    except FilesFailure as failure:
        raise RuntimeFailure(failure.code, failure.detail, retryable=failure.retryable) from failure
    except OSError as error:
        if error.errno in DISK_FULL:
            raise RuntimeFailure(
                "disk_full", f"the disk is full: no room for {what}; free some space", retryable=True
            ) from error
        raise RuntimeFailure(
            "files_failed", f"{what}: {error.strerror} ({error.filename}); look at the ship's disk", retryable=True
        ) from error


def copy_tree(source: Path, target: Path, entries: list[TreeEntry]) -> None:
    """Copy entries of one tree below an existing directory: contents, the executable bit and symlinks as they are.

    The copies are the owner's to write, whatever the permissions of the originals.
    """
    for entry in sorted(entries, key=lambda entry: entry.path.count("/")):
        place = target / entry.path
        if entry.kind == "dir":
            place.mkdir(mode=0o755)
        elif entry.kind == "link":
            place.symlink_to(entry.target)
        else:
            shutil.copyfile(source / entry.path, place)
            place.chmod(0o755 if entry.executable else 0o644)


def remove_tree(path: Path) -> None:
    """Delete a file or tree, even with directories in it that forbid it. What is gone is fine. Raises OSError."""
    for _ in range(2):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        # Somebody took away the right to write from a directory; it is ours, so take it back.
        pending = [path]
        while pending:
            folder = pending.pop()
            folder.chmod(stat.S_IRWXU)
            pending += [item for item in folder.iterdir() if item.is_dir() and not item.is_symlink()]
    shutil.rmtree(path)
