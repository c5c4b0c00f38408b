"""The way `overlay`: what the attendee changed lies over the image's content, which all workspaces share.

Needs root on Linux. Owns, in a workspace's directory:

    home/        where the overlay is mounted
    files.json   which content it is at, and the name of its upper directory
    upper-N/     what the attendee changed
    work-N/      the kernel's own

A new image gets a new upper directory; the record that names it is the point of no return. What no record names is
removed, unless the record cannot be read. One upper is never mounted twice: the kernel would only warn.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ship_agent.files import mounts
from ship_agent.files.base import Brought, Content, FilesFailure
from ship_agent.files.merge import KEPT_PREFIX, Plan, plan, plan_reset
from ship_agent.files.names import numbered
from ship_agent.files.place import remove_tree, sync_directory, translated
from ship_agent.files.record import RECORD, Record
from ship_agent.files.single import start_over
from ship_agent.files.upper import Seen, read_seen, write_upper


class OverlayFiles:
    """One attendee's directory.

    Args:
        directory: the workspace's own, not the attendee's to write; ``home`` is made in it.
    """

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self._directory = directory
        self._record = directory / RECORD

    def bring_to(self, content: Content) -> Brought:
        """Have the directory mounted at that content; see `base.Way`."""
        record = self._known()
        if record is not None and record.digest == content.digest:
            self._mount(record, content)
            return Brought(changed=False)
        seen = self._seen(record, content)
        old = record.tree if record is not None else {}
        merged = plan(old, seen.tree, content.tree, content.label)
        self._replace(merged, seen, record, content)
        return Brought(changed=True, besides=merged.besides)

    def start_over(self, path: bytes, content: Content) -> bytes | None:
        """Put the image's version of one file back; see `base.Way`."""
        record = self._known()
        if record is None:
            raise FilesFailure("files_failed", "the directory has never been made; start its workspace first")
        self._mount(record, content)
        return start_over(self.home, path, content)

    def reset(self, content: Content) -> bytes | None:
        """Put everything back and keep what was the attendee's; see `base.Way`."""
        record = self._known()
        seen = self._seen(record, content)
        old = record.tree if record is not None else {}
        kept_in = numbered(KEPT_PREFIX, lambda name: name in seen.tree or name in content.tree)
        wanted = plan_reset(old, seen.tree, content.tree, kept_in)
        self._replace(wanted, seen, record, content)
        return kept_in if any(action.path == kept_in for action in wanted.actions) else None

    def release(self) -> None:
        """Unmount, if it is mounted. Raises FilesFailure when something still uses it."""
        with translated("the attendee's files"):
            try:
                while mounts.upper_at(self.home) is not None:
                    mounts.unmount(self.home)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise FilesFailure(
                        "files_in_use", "something still has the attendee's files open; end it", retryable=True
                    ) from error
                raise

    def _known(self) -> Record | None:
        """What the directory is at."""
        record = Record.load(self._record)
        return damaged(self._directory) if record is None and self._record.exists() else record

    def _seen(self, record: Record | None, content: Content) -> Seen:
        self.release()
        if record is None:
            return Seen({}, frozenset())
        return read_seen(self._directory / record.upper, record.tree, content.tree)

    def _replace(self, wanted: Plan, seen: Seen, record: Record | None, content: Content) -> None:
        with translated("the attendee's files"):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._clear(record.upper if record else "")
        number = _number(self._directory / record.upper) + 1 if record else 1
        upper = self._directory / f"upper-{number}"
        before = self._directory / record.upper if record else None
        write_upper(wanted, before=before, in_upper=seen.upper, content=content, target=upper)
        after = Record.of(content, wanted, upper.name)
        try:
            with translated("the record of the files"):
                after.save(self._record)
        except BaseException:
            remove_tree(upper)
            raise
        with translated("the attendee's files"):
            sync_directory(self._directory)
        self._mount(after, content)

    def _mount(self, record: Record, content: Content) -> None:
        upper = self._directory / record.upper
        work = self._directory / record.upper.replace("upper", "work")
        with translated("the attendee's files"):
            if mounts.upper_at(self.home) == str(upper):
                return
            self.release()
            self._clear(record.upper)
            work.mkdir(exist_ok=True, mode=0o700)
            self.home.mkdir(exist_ok=True, mode=0o755)
            mounts.mount(content.directory, upper, work, self.home)

    def _clear(self, kept: str) -> None:
        """Remove what no record names, and every work directory: nothing is mounted now."""
        Record.clear(self._record)
        for path in (*self._directory.glob("upper-*"), *self._directory.glob("work-*")):
            if path.name != kept:
                remove_tree(path)


def damaged(directory: Path) -> Record | None:
    """What stands for a record that cannot be read: all in the upper directory is the attendee's.

    Args:
        directory: the workspace's own.
    """
    # A later one than the first may be half written: it takes its place with the record alone.
    uppers = sorted(directory.glob("upper-*"), key=_number)
    return Record("", {}, uppers[0].name) if uppers else None


def _number(upper: Path) -> int:
    return int(upper.name.rpartition("-")[2])
