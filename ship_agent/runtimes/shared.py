"""Directories that the workspaces of one seat share, outside of each one's own files.

Owns the layout of ``DIR/shared``, where ``<shared>`` comes from the mux and is one attendee's:

    <shared>/<name>/        what the workspaces share
    <shared>/<name>.bound   there once it holds the attendee's files: nothing is restored to it any more

Knows no container and no process. Blocking, but for `bound`: call it in a thread.

Rules: both parts of a path are names without a slash that begin with a letter or digit, so nothing leads out; what an
attendee may write lies below ``<name>`` only. A directory lives as long as any workspace with its ``<shared>``, or any
of which it is not known what it shares: nothing of an attendee's goes because a record could not be read.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

from ship_agent.files.place import remove_tree
from ship_agent.runtimes.base import WorkspaceSpec
from ship_agent.runtimes.images import TEMPORARY, translated
from ship_agent.runtimes.launch import variable_part
from ship_agent.runtimes.shim import write_json

log = structlog.get_logger(__name__)

NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})?")
"""What the mux may call the directories of one attendee on a seat; empty for none."""
BOUND = ".bound"
"""Last part of the names of marks; names of directories have no dot."""
LINK = "shared-"
"""In a home: first part of the name of the symlink to a shared directory."""


class SharedDirectories:
    """The shared directories of one ship.

    Args:
        root: ``DIR/shared``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._shared_of: dict[str, str | None] = {}
        self._bound: dict[str, dict[str, Path]] = {}
        self._turn = threading.Lock()

    def open(self, found: Mapping[str, str | None]) -> None:
        """Take over what an earlier agent left; what belongs to none of ``found`` goes. Raises RuntimeFailure.

        Args:
            found: workspaces on this ship, and what each one shares by; None where that is not known.
        """
        with self._turn, translated("the shared directories"):
            self._shared_of = {
                workspace: shared if shared is not None and NAME.fullmatch(shared) else None
                for workspace, shared in found.items()
            }
            self._clear()
            self._bound = {
                shared: {mark.stem: mark.with_suffix("") for mark in (self._root / shared).glob(f"*{BOUND}")}
                for shared in self._shared_of.values()
                if shared
            }

    def give(self, spec: WorkspaceSpec, home: Path, inside: str = "") -> dict[str, str]:
        """The directories that a workspace shares, by the project's names; made if they are not there.

        Args:
            spec: of the workspace.
            home: its files, where links to them are made.
            inside: directory in which it finds them; empty if it sees them where they are.

        Raises:
            RuntimeFailure: they cannot be made.
        """
        if not spec.shared:
            with self._turn:
                if spec.id in self._shared_of and self._shared_of[spec.id] is None:
                    self._shared_of[spec.id] = ""
            return {}
        with self._turn, translated("the shared directories"):
            found = self._made(spec)
            for name, directory in found.items():
                _link(home, name, f"{inside}/{name}" if inside else str(directory))
            return {name: str(directory) for name, directory in found.items()}

    def vacant(self, spec: WorkspaceSpec) -> dict[str, Path]:
        """Those of a workspace that hold nobody's files yet, by name; made if need be. Raises RuntimeFailure."""
        if not spec.shared:
            return {}
        with self._turn, translated("the shared directories"):
            bound = self._bound.get(spec.shared, {})
            return {name: directory for name, directory in self._made(spec).items() if name not in bound}

    def claim(self, spec: WorkspaceSpec) -> None:
        """Those of a workspace hold its attendee's files from now on. Raises RuntimeFailure."""
        if not spec.shared:
            return
        with self._turn, translated("the shared directories"):
            bound = self._bound.get(spec.shared, {})
            new = {name: directory for name, directory in self._made(spec).items() if name not in bound}
            for directory in new.values():
                write_json(f"{directory}{BOUND}", {"epoch": spec.epoch})
            self._bound[spec.shared] = bound | new

    def bound(self, shared: str | None) -> Mapping[str, Path]:
        """Those of one ``<shared>`` that hold an attendee's files, by name."""
        return self._bound.get(shared or "", {})

    def release(self, workspace: str) -> None:
        """A workspace is gone for good; with the last one that shared a directory, that goes.

        Raises RuntimeFailure: not all of it could be deleted. Asked again, the rest goes.
        """
        with self._turn, translated("the shared directories"):
            self._shared_of.pop(workspace, None)
            self._clear()

    def _made(self, spec: WorkspaceSpec) -> dict[str, Path]:
        self._shared_of[spec.id] = spec.shared
        found = {name: self._root / spec.shared / name for name in spec.project.shared}
        for directory in found.values():
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory.parent.mkdir(exist_ok=True, mode=0o700)
            if not directory.exists():
                # Images may run as different users; who gets this far is decided by the directories above.
                directory.mkdir()
                directory.chmod(0o777)
        return found

    def _clear(self) -> None:
        """Delete what is nobody's: all that no workspace shares by, unless that is not known of some workspace."""
        if not self._root.is_dir():
            return
        known = None not in self._shared_of.values()
        for directory in list(self._root.iterdir()):
            if directory.name.startswith(TEMPORARY):
                remove_tree(directory)
            elif known and directory.name not in self._shared_of.values():
                self._bound.pop(directory.name, None)
                # Renamed first: whoever comes by this name while it is deleted, or half deleted, gets a new one.
                debris = directory.with_name(f"{TEMPORARY}{directory.name}")
                remove_tree(debris)
                directory.rename(debris)
                remove_tree(debris)


def variables(places: Mapping[str, str]) -> dict[str, str]:
    """What tells a workspace its shared directories: ``MUX_SHARED_<NAME>``."""
    return {f"MUX_SHARED_{variable_part(name)}": place for name, place in places.items()}


def _link(home: Path, name: str, place: str) -> None:
    """Have a symlink in a home to a shared directory; what else bears the link's name is left alone.

    A link that cannot be made is no reason not to start: a variable says where the directory is, too.
    """
    path = home / f"{LINK}{name}"
    try:
        if path.is_symlink() and os.readlink(path) != place:  # noqa: PTH115 - compared as it stands there
            path.unlink()
        if not os.path.lexists(path):
            path.symlink_to(place)
    except OSError as error:
        log.warning("no link to a shared directory", link=path.name, error=str(error)[:200])
