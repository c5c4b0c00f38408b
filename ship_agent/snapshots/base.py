"""What the agent needs of whoever keeps attendees' files safe elsewhere, and which files those are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ship_agent.files.base import FilesFailure
from ship_agent.runtimes.base import RunningWorkspace, RuntimeFailure, WorkspaceSpec
from ship_agent.snapshots.client import FilesError
from ship_agent.step import Target, View


class Files(Protocol):
    """Keeps attendees' files safe elsewhere; `ship_agent.snapshots.keeper.SnapshotKeeper` is one."""

    async def run(self) -> None:
        """Take snapshots until cancelled."""

    def watch(self, homes: Mapping[str, Path], held: frozenset[str]) -> None:
        """These directories from now on, by workspace; those of ``held`` are being changed by the agent."""

    def behind(self) -> Mapping[str, float]:
        """Where the newest snapshot is older than the last change that was seen: by how many seconds, by workspace."""

    async def restore(self, workspace: str, home: Path, snapshot: str) -> None:
        """Have a snapshot's files in a directory. Raises FilesFailure or FilesError."""


def homes(target: Target, view: View) -> dict[str, Path]:
    """The files of whoever sits here, and of those who were moved away, by workspace."""
    found = {}
    for identity, here in view.workspaces.items():
        wanted = target.workspaces.get(identity)
        sits = wanted is not None and wanted.wanted != "warm" and here.epoch == wanted.spec.epoch
        kept = identity in target.kept and here.state != "running"
        if here.home is not None and (sits or kept):
            found[identity] = here.home
    return found


async def restore(files: Files, spec: WorkspaceSpec, here: RunningWorkspace | None) -> None:
    """Have the attendee's files in a workspace that is stopped, unless it is theirs already. Raises RuntimeFailure."""
    if not spec.restore or here is None or here.home is None or here.epoch == spec.epoch:
        return
    try:
        await files.restore(spec.id, here.home, spec.restore)
    except FilesFailure as failure:
        raise RuntimeFailure(failure.code, failure.detail, retryable=failure.retryable) from failure
    except FilesError as error:
        raise RuntimeFailure("restore_failed", f"the files cannot be had: {error}", retryable=True) from error
