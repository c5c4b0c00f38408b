"""The ways under test, and what one test of them works in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ship_agent.files.base import Content, Way
from ship_agent.files.overlay import OverlayFiles
from ship_agent.files.scan import read_content
from ship_agent.files.sync import SyncFiles
from tests.ship_agent.files.situations import LABEL, Situation
from tests.ship_agent.files.trees import L, Spec, Thing, full, seen, write

USER = 65534
"""Who has no privileges."""


class Room:
    """A workspace's directory, contents, and a way.

    Args:
        directory: empty.
        name: ``sync``, ``sync-user`` (without privileges) or ``overlay``.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.user = USER if name == "sync-user" and os.geteuid() == 0 else None
        if self.user is not None:
            os.chown(directory, self.user, self.user)
        self.workspace = directory / "workspace"
        self.outside = self.workspace / "outside"
        self.name = name
        self._contents = 0
        with self.acting():
            write(self.outside, {"theirs": "1", "a": "1"})

    @property
    def way(self) -> Way:
        """A way, as a new agent would make it."""
        return OverlayFiles(self.workspace) if self.name == "overlay" else SyncFiles(self.workspace)

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """As who the agent is."""
        if self.user is None:
            yield
            return
        os.setegid(self.user)
        os.seteuid(self.user)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def content(self, spec: Spec, label: str = LABEL) -> Content:
        """An image's content."""
        self._contents += 1
        directory = self.directory / f"content-{self._contents}"
        with self.acting():
            write(directory, spec)
            digest = f"sha256:{self._contents:064x}"
            return Content(directory, digest, label, read_content(directory))

    def bring_to(self, content: Content) -> tuple[bytes, ...]:
        """Have the directory at some content."""
        with self.acting():
            return self.way.bring_to(content).besides

    def seen(self) -> dict[str, Thing]:
        """What the attendee finds."""
        return seen(self.way.home)

    def full(self, spec: Spec) -> dict[str, Thing]:
        """A specification as `seen` would give it."""
        named = {path: L(str(self.outside)) if thing == L("OUTSIDE") else thing for path, thing in spec.items()}
        return full(named, self.user if self.user is not None else os.geteuid())

    def prepare(self, situation: Situation) -> Content:
        """Everything up to the change of images; the content to come."""
        self.bring_to(self.content(situation.old, "first"))
        with self.acting():
            situation.edit(self.way.home)
        return self.content(situation.new)

    def close(self) -> None:
        """Let go, so that it can be deleted."""
        self.way.release()
