"""The protocol of the ways in which an attendee's files are kept, and `tests/ship_agent/files` proves of each.

Two ways give the same directory: `sync` puts it together from copies, anywhere and without privileges; `overlay` mounts
what the attendee changed over the image's content, where the agent is root on Linux. Both follow `merge`.

Rules: nobody else has the directory in hands while `bring_to` or `reset` runs: its workspace is stopped. After a
`kill -9` at any moment the directory is as before or as it should be, whole, once `bring_to` has run again. Blocking:
call it in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ship_agent.files.trees import Tree

WayName = Literal["sync", "overlay"]


class FilesFailure(Exception):  # noqa: N818 - the agent's failures are called so
    """It could not be done, and the directory is as before.

    Args:
        code: for machines and reports: ``disk_full``, ``files_failed``, ``not_in_image``, ``path_refused``…
        detail: one sentence for people that says what to do next.
        retryable: whether another try may work.
    """

    def __init__(self, code: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Content:
    """What an image gives an attendee to begin with.

    Args:
        directory: where it lies; never changed while it is there.
        digest: of the image.
        label: what the image is called in names of files.
        tree: what is in the directory, every file's hash known.
    """

    directory: Path
    digest: str
    label: str
    tree: Tree = field(repr=False)


@dataclass(frozen=True, slots=True)
class Brought:
    """What `Way.bring_to` did.

    Args:
        changed: whether the directory was put together anew.
        besides: paths of the image's versions that were put beside an attendee's.
    """

    changed: bool
    besides: tuple[bytes, ...] = ()


class Way(Protocol):
    """One attendee's directory of one workspace. Every call raises :class:`FilesFailure`."""

    home: Path
    """The attendee's directory."""

    def bring_to(self, content: Content) -> Brought:
        """Have the directory: the image's content the first time, afterwards merged with what the attendee changed.
        Finishes what a kill has interrupted. Costs nothing if the directory is at that content.
        """

    def start_over(self, path: bytes, content: Content) -> bytes | None:
        """Put the image's version of one file back; the workspace may run. Returns the name of the copy that is kept
        of the attendee's, None if there was nothing to keep.

        Args:
            path: relative to the directory, as an attendee's page names it: not to be trusted.
            content: what the directory is at.
        """

    def reset(self, content: Content) -> bytes | None:
        """Put everything back. What the attendee made or edited is kept in a directory, whose name is returned."""

    def release(self) -> None:
        """Let go of the directory before it is deleted, or while its workspace is stopped."""
