"""What people are shown of rollouts: plain values, computed on demand. Texts that quote a ship are hostile."""

from __future__ import annotations

from dataclasses import dataclass

from mux.core.model import WorkspaceState
from mux.core.rollout import Rollout, RolloutState, takes_part
from mux.core.rollout_waves import bound, idle_now, offered, user_of, waiting
from mux.core.ships import Seat, Ship, Workspace
from mux.core.trial import Trial
from mux.core.world import World

NAMED_MAX = 3
"""Ships that a text names; more are counted."""
LATE = 2.0
"""A wave that takes so many times as long as those before it: they tell nothing of when it ends."""
WAVE = "the wave under way"
SET_TIME = "the time that was set for it"
"""What a rollout waits for, where others than this module look for it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Another image that an attendee may have, if they want.

    Args:
        number: of the rollout.
        note: an organizer's words on it; may be empty, and is hostile until escaped.
        accepted: they have said that they want it.
    """

    number: int
    note: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class Coming:
    """Another image that an attendee gets without being asked.

    Args:
        number: of the rollout.
        note: an organizer's words on it; may be empty, and is hostile until escaped.
        in_s: seconds until it may come; 0 for any moment.
        idle_s: it comes once they have not worked for so long; 0 where it does not wait for that.
    """

    number: int
    note: str
    in_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class RolloutView:
    """How a rollout stands.

    Args:
        rollout: as it is kept.
        phase: pulling, proving, swapping, done, stopped, aborted or rolled back.
        ships: that take part.
        pulled: of those, how many have the image.
        proved: of those, how many have proved it.
        bound: workspaces of attendees on them.
        swapped: of those, how many run the image.
        swapping: how many are away for it now.
        waiting: how many are still to be swapped.
        offered: attendees who were asked: those who have accepted it, and those who may.
        accepted: of those, how many have accepted it.
        working: of those who are still to be swapped, how many are not idle and are left alone until they are.
        eta_s: how long it will take, as its waves so far went, in seconds; None while that is not known, as before the
            first wave has ended, where it hangs on people or on ships that say nothing, and in a wave that takes long.
        waits_for: what has to happen for it to go on; empty if nothing holds it up.
    """

    rollout: Rollout
    phase: str
    ships: int
    pulled: int
    proved: int
    bound: int
    swapped: int
    swapping: int
    waiting: int
    offered: int
    accepted: int
    working: int
    eta_s: float | None
    waits_for: str


def rollout_views(world: World) -> tuple[RolloutView, ...]:
    """Every project's latest rollout, in the order of the projects."""
    return tuple(_view(world, world.rollouts[name]) for name in world.projects if name in world.rollouts)


def _view(world: World, rollout: Rollout) -> RolloutView:
    ships = [ship for ship in world.ships.values() if takes_part(ship)]
    proved = len(rollout.all_proved.intersection(ship.id for ship in ships))
    trials = [trial for ship in ships if (trial := ship.trials.get(rollout.project))]
    workspaces = [workspace for _, workspace in bound(world, rollout)]
    left = waiting(world, rollout)
    away = sum(not each.healthy for each in workspaces if each.id in rollout.wave)
    waits_for = _waits_for(world, rollout)
    return RolloutView(
        rollout=rollout,
        phase=_phase(rollout, len(ships), sum(rollout.judged(ship.id) for ship in ships), trials=trials),
        ships=len(ships),
        pulled=proved + sum(trial.pulled for trial in trials) + sum(ship.id in rollout.fetched for ship in ships),
        proved=proved,
        bound=len(workspaces),
        swapped=sum(each.digest == rollout.digest and each.healthy for each in workspaces),
        swapping=away,
        waiting=len(left) if rollout.active else 0,
        offered=len(rollout.accepted) + _asked(rollout, left),
        accepted=len(rollout.accepted),
        working=_working(world, rollout, left),
        eta_s=_eta_s(world, rollout, len(left), total=len(workspaces)) if waits_for in ("", WAVE) else None,
        waits_for=waits_for,
    )


def _asked(rollout: Rollout, left: list[tuple[Ship, Workspace]]) -> int:
    """Of those who are left, how many have been asked and have not accepted yet."""
    if not rollout.offered_at or not rollout.active:
        return 0
    accepted = frozenset(rollout.accepted)
    return sum(user_of(ship, workspace) not in accepted for ship, workspace in left)


def _working(world: World, rollout: Rollout, left: list[tuple[Ship, Workspace]]) -> int:
    """Of those who are left, how many are waited for until they are idle."""
    if not rollout.pace.idle or not rollout.active:
        return 0
    return sum(not idle_now(world, ship, workspace) for ship, workspace in left)


def _eta_s(world: World, rollout: Rollout, left: int, *, total: int) -> float | None:
    if rollout.state is not RolloutState.RUNNING or not rollout.waves:
        return None
    if left and (rollout.pace.idle or rollout.pace.offer):
        return None
    wave_s = rollout.waves_s / rollout.waves
    taken_s = world.now - rollout.wave_began_at if rollout.wave else wave_s
    if taken_s > LATE * wave_s:
        return None
    return max(0.0, wave_s - taken_s) + wave_s * -(-left // rollout.pace.at_once(total, world.spec.rollout))


def offer_to(rollout: Rollout, ship: Ship, seat: Seat) -> Offer | None:
    """What the attendee of a seat may accept, or has accepted and does not have yet. Nobody is asked in a pause."""
    if not offered(rollout, ship, seat):
        return None
    accepted = seat.user in rollout.accepted
    return Offer(rollout.number, rollout.note, accepted) if accepted or not rollout.paused else None


def coming_to(world: World, rollout: Rollout, ship: Ship, seat: Seat, now: float) -> Coming | None:
    """What the attendee of a seat gets by itself, so that they know before their kernels end."""
    workspace = seat.workspaces.get(rollout.project)
    if rollout.state is not RolloutState.RUNNING or rollout.paused or rollout.pace.offer or workspace is None:
        return None
    comes = workspace.digest != rollout.digest and ship.id in rollout.all_proved and not rollout.gave_up(workspace.id)
    if not comes or not takes_part(ship) or seat.leaving or workspace.state is not WorkspaceState.BOUND:
        return None
    idle_s = world.spec.rollout.idle_after_s if rollout.pace.idle else 0.0
    return Coming(rollout.number, rollout.note, max(0.0, rollout.pace.not_before - now), idle_s)


def _phase(rollout: Rollout, ships: int, judged: int, *, trials: list[Trial]) -> str:
    if rollout.state is not RolloutState.RUNNING:
        return "rolled back" if rollout.rollback and rollout.state is RolloutState.DONE else str(rollout.state)
    if ships and judged == ships:
        return "swapping"
    return "proving" if trials and all(trial.pulled for trial in trials) else "pulling"


def _waits_for(world: World, rollout: Rollout) -> str:
    if rollout.state is not RolloutState.RUNNING:
        return ""
    if rollout.paused:
        return f"an organizer: `mux rollout resume {rollout.project}`"
    ships = [ship for ship in world.ships.values() if takes_part(ship)]
    if not ships:
        return "a ship that is up"
    silent = [ship for ship in ships if ship.link is None or ship.unreachable]
    concerned = {ship.id for ship, _ in waiting(world, rollout)}
    named = [ship.id for ship in silent if not rollout.judged(ship.id) or ship.id in concerned]
    if named:
        more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
        return f"{', '.join(named[:NAMED_MAX])}{more}, not heard from; `mux ship lost` gives a ship up"
    if any(not rollout.judged(ship.id) for ship in ships):
        trials = [(ship.id, trial) for ship in ships if (trial := ship.trials.get(rollout.project))]
        away = (f"{ship} to have the image: {trial.away}" for ship, trial in trials if trial.away)
        return next(away, "ships to prove the image")
    if world.now < rollout.pace.not_before:
        return SET_TIME
    if rollout.wave:
        return WAVE
    left = waiting(world, rollout)
    if rollout.pace.offer and left and _asked(rollout, left) == len(left):
        return f"{len(left)} to accept it"
    if left and _working(world, rollout, left) == len(left):
        return f"{len(left)} to be idle"
    return ""
