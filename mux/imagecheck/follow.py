"""What an author saved since it was last looked at, and how it gets into a workspace's home.

Blocking: call it in a thread. Rules: a file is looked at again only when its time or size has changed. What somebody
changed in the workspace is never overwritten or deleted; the author is told instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

Followed = Mapping[str, tuple[int, int, str]]
"""By path below the directory: time in nanoseconds, size, SHA-256 of what is in it."""
IGNORED = frozenset({".git", ".ipynb_checkpoints", "__pycache__"})
FILES_MAX = 20_000
"""More files than that are not looked at twice a second."""


def seen(root: Path, before: Followed | None = None) -> Followed:
    """Every file below a directory, without links and what tools leave there."""
    found: dict[str, tuple[int, int, str]] = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in IGNORED]
        for name in files[: FILES_MAX - len(found)]:
            path = Path(folder) / name
            try:
                status = path.lstat()
                key = path.relative_to(root).as_posix()
                last = (before or {}).get(key)
                if path.is_symlink():
                    continue
                if last is not None and last[:2] == (status.st_mtime_ns, status.st_size):
                    found[key] = last
                else:
                    found[key] = (status.st_mtime_ns, status.st_size, digest(path))
            except OSError:
                continue  # gone while it was read: looked at again next time
    return found


def changes(before: Followed, now: Followed) -> set[str]:
    """Paths that came, went, or have another content."""
    return {path for path in before.keys() | now.keys() if before.get(path, _NONE)[2] != now.get(path, _NONE)[2]}


_NONE = (0, 0, "")


def take_over(
    source: Path, homes: Iterable[Path], before: Followed, now: Followed, changed: Iterable[str]
) -> list[str]:
    """Bring changed files of ``home/`` into homes; a line for people on each."""
    lines = []
    for path in sorted(changed):
        inside = path.removeprefix("home/")
        for home in homes:
            place = home / inside
            if not place.parent.resolve().is_relative_to(home.resolve()):
                lines.append(f"{inside} is behind a link that leads out of the workspace's files, and stays as it is")
                continue
            there = digest(place) if place.is_file() and not place.is_symlink() else ""
            if there != before.get(path, _NONE)[2]:
                if there != now.get(path, _NONE)[2]:
                    lines.append(f"{inside} was changed in the workspace and stays; delete it there to get the new one")
                continue
            if path not in now:
                place.unlink(missing_ok=True)
                lines.append(f"{inside} is gone")
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_name(f".{place.name}.new")
            shutil.copyfile(source / path, fresh)
            fresh.chmod(0o755 if os.access(source / path, os.X_OK) else 0o644)
            fresh.replace(place)
            lines.append(f"{inside} is taken over")
    return lines


def digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
