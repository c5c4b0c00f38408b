"""What an agent remembers of a workspace's starts and of an image's pulls: failures in a row, health, since when.

Pure: values in, values out, ``now`` is monotonic seconds. `seen` takes in what the runtime and the health checks say,
`failed` what an action raised; `step` and `report` read the result. It is memory only: a new agent begins with none,
and is no worse off than after a first failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ship_agent.runtimes.base import RunningWorkspace, RuntimeFailure

WARM_RETRIES_MAX = 3
"""Starts of a warm workspace after the first; then the mux replaces it, perhaps elsewhere."""
WARM_BACKOFF_FIRST_S = 1.0
"""Pauses of 1, 2 and 4 s: a workspace that cannot start is known as such within ten seconds."""
BOUND_BACKOFF_FIRST_S = 0.5
BOUND_BACKOFF_MAX_S = 30.0
"""An attendee waits, so the first pause is short; one that always fails costs a start each 30 s."""
BOUND_FAILED_STARTS = 5
"""Starts in a row without health after which a bound workspace is reported as failed. It is tried on and on."""
STEADY_S = 60.0
"""Health for so long forgets failures: the next one is a first one again."""
START_MAX_S = 90.0
"""A start without health for so long has failed. JupyterLab needs 2 to 10 s, hooks may load data."""
PULL_FAILED_TRIES = 3
"""Failures in a row after which a pull that may yet work is reported as failed. It is tried on."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one workspace, or of the pull of one image (which uses the first five).

    Args:
        failures: in a row.
        barren: starts in a row that ended without having answered once.
        failed_at: when the last failure was noticed.
        fatal: whether another try of the same would fail the same way.
        code, detail: of the last failure.
        run_key: specification that the failures are about.
        starts: which start the rest is about.
        seen_at: when that start was first seen.
        answered: it has been healthy at least once.
        healthy_at: since when it is healthy; None if it is not.
        ended: its end has been counted.
    """

    failures: int = 0
    barren: int = 0
    failed_at: float = 0.0
    fatal: bool = False
    code: str = ""
    detail: str = ""
    run_key: str = ""
    starts: int = 0
    seen_at: float = 0.0
    answered: bool = False
    healthy_at: float | None = None
    ended: bool = False

    @property
    def given_up(self) -> bool:
        """Whether a warm workspace is not started again."""
        return self.fatal or self.failures > WARM_RETRIES_MAX

    def retry_at(self, wanted: Literal["warm", "bound"]) -> float:
        """When the next start is due; infinite if none is."""
        if not self.failures:
            return 0.0
        if wanted == "warm":
            return float("inf") if self.given_up else self.failed_at + WARM_BACKOFF_FIRST_S * 2.0 ** (self.failures - 1)
        return self.failed_at + _bound_backoff_s(self.failures)

    def pull_at(self) -> float:
        """When the next pull is due. Even a fatal failure is tried again: an organizer may put the image back."""
        if not self.failures:
            return 0.0
        return self.failed_at + (BOUND_BACKOFF_MAX_S if self.fatal else _bound_backoff_s(self.failures))

    @property
    def pull_failed(self) -> bool:
        """Whether a pull is reported as failed."""
        return self.fatal or self.failures >= PULL_FAILED_TRIES

    def start_ends_at(self) -> float:
        """When a start that has not answered counts as failed."""
        return float("inf") if self.answered else self.seen_at + START_MAX_S


def of_specification(memory: Memory, run_key: str) -> Memory:
    """Failures of another specification say nothing of this one."""
    if memory.run_key == run_key:
        return memory
    return replace(memory, failures=0, barren=0, fatal=False, code="", detail="", run_key=run_key)


def seen(
    memory: Memory, workspace: RunningWorkspace, *, healthy: bool, age_s: float, now: float, answered: bool = False
) -> Memory:
    """Take in what is so of a workspace.

    Args:
        workspace: as the runtime says.
        healthy: as the health checks say of this start.
        age_s: seconds since it was started, by the machine's clock: a start that an earlier agent made long ago is
            no start any more. Whoever sits there may have open kernels, so it is never ended for want of an answer.
        now: monotonic seconds.
        answered: an earlier agent has noted that this start has answered, with which it is no start any more either.
    """
    if workspace.starts != memory.starts:
        memory = replace(
            memory,
            starts=workspace.starts,
            seen_at=now - max(0.0, min(age_s, START_MAX_S)),
            answered=answered or age_s > START_MAX_S,
            healthy_at=None,
            ended=False,
        )
    if workspace.state == "running":
        if not healthy:
            return replace(memory, healthy_at=None)
        since = now if memory.healthy_at is None else memory.healthy_at
        if now - since >= STEADY_S and memory.failures:
            memory = replace(memory, failures=0, fatal=False, code="", detail="")
        return replace(memory, answered=True, barren=0, healthy_at=since)
    if memory.ended:
        return memory
    memory = replace(memory, ended=True)
    if not workspace.failure or (memory.run_key and workspace.run_key != memory.run_key):
        # Asked for, or the end of another specification: an agent that was killed in the middle of a swap has left it.
        return memory
    return failed(memory, workspace.failure, workspace.detail, now=now)


def refused(memory: Memory, failure: RuntimeFailure, here: RunningWorkspace | None, *, now: float) -> Memory:
    """Count a start that came to nothing. ``here``: what there is of the workspace."""
    if here is None or here.state != "running":
        memory = replace(memory, answered=False)  # that was the start before
    memory = failed(memory, failure.code, failure.detail, now=now, fatal=not failure.retryable)
    # A start that got as far as being kept is seen as an exit, too: it has been counted here.
    return replace(memory, starts=here.starts, ended=True) if here is not None else memory


def failed(memory: Memory, code: str, detail: str, *, now: float, fatal: bool = False) -> Memory:
    """Count a failure: an exit, a start that was refused, one that never answered, a pull."""
    steady = memory.healthy_at is not None and now - memory.healthy_at >= STEADY_S
    return replace(
        memory,
        failures=1 if steady else memory.failures + 1,
        barren=0 if memory.answered else memory.barren + 1,
        failed_at=now,
        fatal=fatal,
        code=code,
        detail=detail,
        healthy_at=None,
    )


def _bound_backoff_s(failures: int) -> float:
    return min(BOUND_BACKOFF_MAX_S, BOUND_BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 30))
