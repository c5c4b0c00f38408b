"""The way `sync`: the directory is put together anew from links to the attendee's files and copies of the image's.

Needs no privileges. Owns, in a workspace's directory:

    home/            the attendee's directory
    files.json       which content it is at
    files.next.json  which content it is being brought to
    .new-home/       is being put together; whoever finds it removes it
    home.next/       is complete and takes the place of home
    home.last/       was home; is being removed

The name ``home.next`` is the point of no return: before it everything is begun again, after it everything is finished.
"""

from __future__ import annotations

from pathlib import Path

from ship_agent.files.assemble import assemble
from ship_agent.files.base import Brought, Content
from ship_agent.files.merge import KEPT_PREFIX, Plan, plan, plan_reset
from ship_agent.files.names import numbered
from ship_agent.files.place import remove_tree, sync_directory, translated
from ship_agent.files.record import RECORD, Record
from ship_agent.files.scan import read_mine
from ship_agent.files.single import start_over


class SyncFiles:
    """One attendee's directory.

    Args:
        directory: the workspace's own, not the attendee's to write; ``home`` is made in it.
    """

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self._directory = directory
        self._record = directory / RECORD
        self._next_record = directory / "files.next.json"
        self._fresh = directory / ".new-home"
        self._next = directory / "home.next"
        self._last = directory / "home.last"

    def bring_to(self, content: Content) -> Brought:
        """Have the directory at that content; see `base.Way`."""
        self._recover()
        record = Record.load(self._record)
        if not self.home.is_dir():
            self._replace(plan({}, {}, content.tree, content.label), content, first=True)
            return Brought(changed=True)
        if record is not None and record.digest == content.digest:
            return Brought(changed=False)
        old = record.tree if record is not None else {}
        merged = plan(old, read_mine(self.home, old, content.tree), content.tree, content.label)
        self._replace(merged, content, first=False)
        return Brought(changed=True, besides=merged.besides)

    def start_over(self, path: bytes, content: Content) -> bytes | None:
        """Put the image's version of one file back; see `base.Way`."""
        return start_over(self.home, path, content)

    def reset(self, content: Content) -> bytes | None:
        """Put everything back and keep what was the attendee's; see `base.Way`."""
        self._recover()
        record = Record.load(self._record)
        old = record.tree if record is not None else {}
        mine = read_mine(self.home, old, content.tree) if self.home.is_dir() else {}
        kept_in = numbered(KEPT_PREFIX, lambda name: name in mine or name in content.tree)
        wanted = plan_reset(old, mine, content.tree, kept_in)
        self._replace(wanted, content, first=not self.home.is_dir())
        return kept_in if any(action.path == kept_in for action in wanted.actions) else None

    def release(self) -> None:
        """Nothing is held."""

    def _replace(self, wanted: Plan, content: Content, *, first: bool) -> None:
        with translated("the new version of the files"):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = None if first else self.home
        assemble(wanted, mine=mine, content=content, target=self._fresh, durable=not first)
        try:
            with translated("the record of the files"):
                Record.of(content, wanted).save(self._next_record)
        except BaseException:
            remove_tree(self._fresh)
            raise
        with translated("the attendee's files"):
            self._fresh.rename(self._next)
            self._finish()

    def _recover(self) -> None:
        """Finish or take back what a kill has interrupted."""
        with translated("the attendee's files"):
            remove_tree(self._fresh)
            Record.clear(self._next_record)
            if self._next.is_dir():
                self._finish()
            elif self._last.is_dir():
                self._close()
            else:
                self._next_record.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self.home.is_dir():
            self.home.rename(self._last)
        else:
            self._last.mkdir(exist_ok=True)  # the mark of a change that is to be closed
        self._next.rename(self.home)
        self._close()

    def _close(self) -> None:
        if self._next_record.exists():
            sync_directory(self._directory)
            self._next_record.rename(self._record)
        remove_tree(self._last)
