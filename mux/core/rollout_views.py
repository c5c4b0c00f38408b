"""What organizers are shown of rollouts: plain values, computed on demand. Texts that quote a ship are hostile."""

from __future__ import annotations

from dataclasses import dataclass

from mux.core.rollout import Rollout, RolloutState, takes_part
from mux.core.rollout_waves import bound, idle_now, waiting
from mux.core.ships import Trial
from mux.core.world import World

NAMED_MAX = 3
"""Ships that a text names; more are counted."""


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
    waits_for: str


def rollout_views(world: World) -> tuple[RolloutView, ...]:
    """Every project's latest rollout, in the order of the projects."""
    return tuple(_view(world, world.rollouts[name]) for name in world.projects if name in world.rollouts)


def _view(world: World, rollout: Rollout) -> RolloutView:
    ships = [ship for ship in world.ships.values() if takes_part(ship)]
    proved = sum(ship.id in rollout.proved for ship in ships)
    trials = [trial for ship in ships if (trial := ship.trials.get(rollout.project))]
    workspaces = [workspace for _, workspace in bound(world, rollout)]
    left = waiting(world, rollout)
    away = sum(not each.healthy for each in workspaces if each.id in rollout.wave)
    return RolloutView(
        rollout=rollout,
        phase=_phase(rollout, len(ships), sum(rollout.judged(ship.id) for ship in ships), trials=trials),
        ships=len(ships),
        pulled=proved + sum(trial.pulled for trial in trials),
        proved=proved,
        bound=len(workspaces),
        swapped=sum(each.digest == rollout.digest and each.healthy for each in workspaces),
        swapping=away,
        waiting=len(left) if rollout.active else 0,
        waits_for=_waits_for(world, rollout),
    )


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
        away = (trial.away for ship in ships if (trial := ship.trials.get(rollout.project)) and trial.away)
        return next(away, "ships to prove the image")
    if world.now < rollout.pace.not_before:
        return "the time that was set for it"
    if rollout.wave:
        return "the wave under way"
    left = waiting(world, rollout)
    if rollout.pace.idle and left and not any(idle_now(world, *each) for each in left):
        return f"{len(left)} to be idle"
    return ""
