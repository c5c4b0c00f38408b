"""What an agent says of its workspaces: from the target, the view and the health checks to the protocol's words.

Pure. Every text is bounded here, and all log tails together, so that a report is always a valid message.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Literal

from ship_agent.memory import BOUND_FAILED_STARTS, Memory
from ship_agent.protocol.messages import (
    LOG_TAIL_CHARS_MAX,
    WORKSPACES_MAX,
    ObservedWorkspace,
    Stage,
    StartedOver,
)
from ship_agent.runtimes.base import RunningWorkspace
from ship_agent.step import Target, View, Wanted

TAILS_CHARS_MAX = 512 * 1024
"""All log tails of one report: even at four bytes a character, half of MESSAGE_BYTES_MAX."""
DETAIL_CHARS_MAX = 500
"""Bound of the protocol's ``Line``."""
EXIT_CODE_MAX = 255
BEHIND_MAX_S = 1e9
"""The protocol's bound."""

State = Literal["pulling", "starting", "healthy", "unhealthy", "restarting", "failed", "stopped"]

NO_MEMORY = Memory()


def observed_workspaces(
    target: Target | None,
    view: View,
    healthy: frozenset[str],
    tails: Mapping[str, str],
    *,
    started_over: Mapping[str, StartedOver] | None = None,
    behind: Mapping[str, float] | None = None,
    unkept: Mapping[str, str] | None = None,
    saved: Container[str] = (),
) -> list[ObservedWorkspace]:
    """Everything that the ship holds or should hold, what is wanted first, at most WORKSPACES_MAX.

    Args:
        target: what is desired; None before the first.
        view: what is so.
        healthy: ids of workspaces that answer.
        tails: redacted log tails of failures, by id.
        started_over: how the last wish to start over ended, by id.
        behind: how many seconds snapshots of files are behind, by id.
        unkept: why files could not be sent to the mux, by id.
        saved: ids of those that are stopped, and have left nothing that is not in a snapshot.
    """
    wishes, ages, troubles = started_over or {}, behind or {}, unkept or {}
    wanted = target.workspaces if target else {}
    room = TAILS_CHARS_MAX
    found = []
    for identity in list(dict.fromkeys((*wanted, *view.workspaces)))[:WORKSPACES_MAX]:
        observed = _workspace(identity, wanted.get(identity), view, healthy, tails)
        if len(observed.log_tail) > room:
            observed = observed.model_copy(update={"log_tail": ""})
        room -= len(observed.log_tail)
        said = {
            "started_over": wishes.get(identity),
            "behind_s": min(ages.get(identity, 0.0), BEHIND_MAX_S),
            "unkept": troubles.get(identity, "")[:DETAIL_CHARS_MAX],
            "saved": identity in saved,
        }
        found.append(observed.model_copy(update=said))
    return found


def phase(target: Target | None, view: View, healthy: frozenset[str], progress: Mapping[str, str] | None = None) -> str:
    """One line for people: what the agent is about.

    Args:
        target: what is desired; None before the first.
        view: what is so.
        healthy: ids of workspaces that answer.
        progress: what each pull under way has come to, by digest; for people.
    """
    if target is None:
        return "waiting for the mux to say what is wanted"
    pulling = {digest: target.images[digest].name for digest in view.busy if digest in target.images}
    if pulling:
        said = progress or {}
        lines = sorted({said.get(digest) or f"fetching the image of {name}" for digest, name in pulling.items()})
        return ", ".join(lines)[:DETAIL_CHARS_MAX]
    wanted = [identity for identity, wanted in target.workspaces.items() if wanted.wanted != "suspended"]
    return f"{sum(identity in healthy for identity in wanted)} of {len(wanted)} workspaces are healthy"


def stage(target: Target | None, view: View, workspaces: Iterable[ObservedWorkspace]) -> Stage:
    """How far the ship is with getting ready.

    Args:
        target: what is desired; None before the first.
        view: what is so.
        workspaces: what is reported of them. One that has failed for good holds nothing up: another word says so.
    """
    if target is None:
        return "installing"
    states = {each.state for each in workspaces if each.id in target.workspaces}
    if "pulling" in states or any(digest in target.images and digest not in view.images for digest in view.busy):
        return "pulling"
    return "starting" if states & {"starting", "restarting"} else "ready"


def _workspace(
    identity: str, wanted: Wanted | None, view: View, healthy: frozenset[str], tails: Mapping[str, str]
) -> ObservedWorkspace:
    here = view.workspaces.get(identity)
    memory = view.memory.get(identity, NO_MEMORY)
    state = _state(wanted, here, view, memory, answers=identity in healthy)
    code, detail, tail = "", "", ""
    if state in ("failed", "restarting", "pulling") or (state == "starting" and memory.failures):
        pull = view.pulls.get(wanted.spec.digest, NO_MEMORY) if wanted else NO_MEMORY
        told = pull if pull.failures and wanted and wanted.spec.digest not in view.images else memory
        code, detail = told.code, told.detail
        tail = tails.get(identity, "") if told is memory and memory.failures else ""
    if state == "starting" and not code and identity in view.hooks:
        detail = f"the hook {view.hooks[identity]} has not ended yet"
    seat, project, digest, epoch = _identity(wanted, here)
    exit_code = here.exit_code if here else None
    return ObservedWorkspace(
        id=identity,
        seat=seat,
        project=project,
        digest=digest,
        state=state,
        epoch=epoch,
        restarts=max(0, here.starts - 1) if here else 0,
        exit_code=None if exit_code is None else max(-EXIT_CODE_MAX, min(exit_code, EXIT_CODE_MAX)),
        reason=code,
        detail=detail[:DETAIL_CHARS_MAX],
        log_tail=tail[-LOG_TAIL_CHARS_MAX:],
        memory_kills=here.memory_kills if here else 0,
    )


def _identity(wanted: Wanted | None, here: RunningWorkspace | None) -> tuple[int, str, str, int]:
    """Seat, project, digest and epoch: of what is there, else of what should be."""
    if here is not None:
        return here.seat, here.project, here.digest, here.epoch
    if wanted is None:
        raise ValueError("a workspace that neither is nor should be")
    return wanted.spec.seat, wanted.spec.project.name, wanted.spec.digest, 0


def _state(wanted: Wanted | None, here: RunningWorkspace | None, view: View, memory: Memory, *, answers: bool) -> State:
    if here is not None and here.state == "running":
        return _running(wanted, here, memory, answers=answers)
    if wanted is None or wanted.wanted == "suspended":
        return "stopped"
    if wanted.spec.digest not in view.images:
        return "failed" if view.pulls.get(wanted.spec.digest, NO_MEMORY).pull_failed else "pulling"
    if memory.run_key != wanted.run_key or not memory.failures:
        return "starting"
    if wanted.wanted == "warm":
        return "failed" if memory.given_up else "restarting"
    return "failed" if memory.barren >= BOUND_FAILED_STARTS else "restarting"


def _running(wanted: Wanted | None, here: RunningWorkspace, memory: Memory, *, answers: bool) -> State:
    if wanted is not None and wanted.wanted != "suspended" and here.run_key != wanted.run_key:
        return "restarting"
    if answers:
        return "healthy"
    if memory.answered:
        return "unhealthy"
    return "failed" if memory.barren >= BOUND_FAILED_STARTS else "starting"
