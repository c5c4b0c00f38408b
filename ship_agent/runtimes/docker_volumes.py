"""Volumes that an image wants below its home, made directories of the attendee's own files.

An engine gives a volume that nobody names a new, empty life with each container: what is saved there would be gone at
the next start, and no snapshot would have it. So each is mounted from the home instead.

Blocking. Rules: an attendee may have put a link where the directory was. A mount would follow it to anywhere on the
ship, so only directories are mounted, looked at one after another; nothing else writes to the home meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ship_agent.runtimes.images import translated


def directories(home: Path, inside: str, volumes: Iterable[str]) -> Mapping[str, str]:
    """Directories on the ship by the places inside that they are for. Raises RuntimeFailure.

    Args:
        home: on the ship, with the attendee's files; no container runs on it.
        inside: where it is mounted.
        volumes: places below ``inside``.
    """
    found = {}
    with translated("the workspace's files"):
        owner = home.stat()
        for volume in volumes:
            path, is_plain = home, True
            for part in Path(volume).relative_to(inside).parts:
                path /= part
                if is_plain and not os.path.lexists(path):
                    path.mkdir(mode=0o755)
                    os.chown(path, owner.st_uid, owner.st_gid)
                is_plain = is_plain and stat.S_ISDIR(path.lstat().st_mode)
            if is_plain:
                found[volume] = str(path)
    return found
