"""Proving an image on a ship: a throw-away workspace that nobody is led to, before anybody there is touched.

Rules: one trial at a time for a project on a ship; the first failure is the verdict, since a workspace that fails once
in front of nobody may fail in front of somebody. A port that another program holds is nobody's verdict, and neither is
a registry that does not answer: ships try on, for a while. However a ship words it, it has `TRIALS_MAX_S` for all its
trials of one rollout, while it is heard from: everybody else waits for its verdict. A trial is memory only: a mux that
starts anew tries anew.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from mux.core.commands import Notify
from mux.core.model import ReportedState, ShipReport, WorkspaceId, WorkspaceReport, WorkspaceState
from mux.core.rollout import Rollout, RolloutState, takes_part
from mux.core.ships import Ship, Workspace
from mux.core.trial import Trial
from mux.core.workspaces import PORT_IN_USE, wanted_changed
from mux.core.world import World

PULL_MAX_S = 3600.0
"""A ship that has not got an image by then never will: 10 GB at 25 Mbit/s."""
AWAY_MAX_S = 300.0
"""A registry, or an engine, that is away for longer is somebody's to mend first: it restarts within a minute."""
TRIALS_MAX_S = PULL_MAX_S + AWAY_MAX_S
PORT_PAUSE_S = 2.0
PORT_MAX_S = 60.0
"""How often, and for how long, ports are tried again that were found taken: by what another mux process has begun and
this one ends, or by a program that is about to end."""
AWAY = frozenset({"registry_away", "engine_away"})
"""Reasons that a ship gives which say nothing of the image."""
FAILED = (ReportedState.FAILED, ReportedState.RESTARTING)
"""What a ship says of a workspace whose start has ended, if it gives a reason."""


def lets_down(word: WorkspaceReport | None) -> str:
    """Why a workspace did not come up, by the last word on it; empty if it may yet, or has."""
    if word is None or word.state not in FAILED or not word.reason or word.reason == PORT_IN_USE:
        return ""
    return word.detail or word.reason


def is_away(word: WorkspaceReport | None) -> bool:
    """Whether what a start needs is away for now; that says nothing of the image."""
    return word is not None and word.state in FAILED and word.reason in AWAY


def still_at(word: WorkspaceReport | None) -> str:
    """What a start was at that did not come to an answer, as the end of a sentence; empty if its ship did not say."""
    if word is None or word.state is not ReportedState.STARTING or word.reason or not word.detail:
        return ""
    return f": {word.detail}"


def keep_trials(world: World, rollout: Rollout, ship: Ship) -> None:
    """Begin a ship's trial where it is wanted, end it where it is not, and judge one that takes too long."""
    trial = ship.trials.get(rollout.project)
    wanted = rollout.active and takes_part(ship) and not rollout.judged(ship.id) and _matters(rollout, ship)
    if trial is not None and (not wanted or trial.rollout != rollout.number):
        _end(world, ship, trial)
        trial = None
    if not wanted:
        return
    if trial is None:
        if not rollout.paused:
            _begin(world, rollout, ship)
    elif world.now >= trial.ends_at:
        if ship.link is None or ship.unreachable:
            _set_end(world, trial, world.spec.rollout.start_max_s, latest=inf)
        elif world.now >= trial.latest:
            refuse(world, ship, trial, f"it has not proved the image within {TRIALS_MAX_S / 60:.0f} minutes")
        elif trial.away:
            refuse(world, ship, trial, f"{trial.away} (tried for {AWAY_MAX_S:g} s)")
        elif trial.pulled:
            words = ship.report.workspaces if ship.report is not None else ()
            at = still_at(next((word for word in words if word.id == trial.id), None))
            limit_s = world.spec.rollout.start_max_s
            refuse(world, ship, trial, f"it did not answer within {limit_s:g} s of its start{at}")
        else:
            refuse(world, ship, trial, f"its image was not there within {PULL_MAX_S:g} s")


def _matters(rollout: Rollout, ship: Ship) -> bool:
    """Once a rollout is done, only a ship that came back with people on the image before has something to prove."""
    if rollout.state != "done":
        return True
    return any(
        seat.user is not None
        and (workspace := seat.workspaces.get(rollout.project)) is not None
        and workspace.digest != rollout.digest
        for seat in ship.seats
    )


def _begin(world: World, rollout: Rollout, ship: Ship) -> None:
    if world.now < ship.trial_port_at:
        return
    spec = world.projects.get(rollout.project)
    ports = ship.free_ports(spec.ports if spec else ())
    if ports is None:
        _without_port(world, rollout, ship)
        return
    ship.incarnations += 1
    identity = WorkspaceId(f"{ship.id}.{len(ship.seats)}.{rollout.project}.{ship.incarnations}")
    since = ship.trying_since.get(rollout.project)
    if since is None or since[0] != rollout.number:
        since = ship.trying_since[rollout.project] = rollout.number, world.now
    latest = since[1] + TRIALS_MAX_S
    trial = Trial(identity, rollout.project, rollout.digest, ports[0], rollout.number, ports=ports[1], latest=latest)
    _set_end(world, trial, PULL_MAX_S)
    ship.trials[rollout.project] = trial
    wanted_changed(world, ship)


def _without_port(world: World, rollout: Rollout, ship: Ship) -> None:
    """Ports that were found taken are tried again for a while. Without any such the range is too small."""
    if ship.ports_taken and not ship.trial_port_until:
        ship.trial_port_until = world.now + PORT_MAX_S
    ship.ports_taken.clear()
    if world.now < ship.trial_port_until:
        ship.trial_port_at = world.now + PORT_PAUSE_S
        world.deadlines.set(("rollout", f"{ship.id}.port"), ship.trial_port_at)
    else:
        why = "it has no free port for a trial: give ships a larger port range"
        _verdict(world, ship, rollout, why)


def _set_end(world: World, trial: Trial, seconds: float, *, latest: float | None = None) -> None:
    trial.ends_at = min(world.now + seconds, trial.latest if latest is None else latest)
    world.deadlines.set(("rollout", trial.id), trial.ends_at)


def _end(world: World, ship: Ship, trial: Trial) -> None:
    del ship.trials[trial.project]
    world.deadlines.clear(("rollout", trial.id))
    wanted_changed(world, ship)


def heard(world: World, ship: Ship, report: ShipReport) -> None:
    """Take in what a ship says of its trials."""
    if not ship.trials:
        return
    said = {workspace.id: workspace for workspace in report.workspaces}
    for trial in list(ship.trials.values()):
        word, rollout = said.get(trial.id), world.rollouts.get(trial.project)
        if word is None or rollout is None or rollout.number != trial.rollout:
            continue
        if word.state is ReportedState.HEALTHY:
            _end(world, ship, trial)
            ship.trial_port_at = ship.trial_port_until = 0.0
            world.rollouts[trial.project] = replace(rollout, proved=(*rollout.proved, ship.id))
        elif word.reason == PORT_IN_USE:
            # Another trial follows, at another port.
            ship.ports_taken |= {trial.port, *trial.ports.values()}
            _end(world, ship, trial)
        elif is_away(word):
            if not trial.away:
                _set_end(world, trial, AWAY_MAX_S)
            trial.away = word.detail or word.reason
        elif why := lets_down(word):
            # The first word of it may come when its start has failed already.
            trial.pulled |= word.state is ReportedState.RESTARTING
            refuse(world, ship, trial, why)
        elif word.state is not ReportedState.PULLING and (trial.away or not trial.pulled):
            trial.pulled, trial.away = True, ""
            _set_end(world, trial, world.spec.rollout.start_max_s)


def judge_by_use(world: World, rollout: Rollout, ship: Ship) -> list[tuple[Workspace, str]]:
    """A ship that came up with an image that is in force proves it with its first workspace, as others did in a trial.

    Returns:
        Attendees' workspaces there that have not come up with it, why, and that are to have the image before.
    """
    if rollout.state is not RolloutState.DONE or rollout.rollback or (ship.gone and not ship.failed):
        return []
    found = ship.workspaces.values()
    mine = [each for each in found if each.project == rollout.project and each.digest == rollout.digest]
    if not rollout.judged(ship.id) and any(each.healthy for each in mine):
        world.rollouts[rollout.project] = replace(rollout, proved=(*rollout.proved, ship.id))
        return []
    down = [
        (each, why) for each in mine if each.state is WorkspaceState.PREPARING and (why := lets_down(each.reported))
    ]
    if not rollout.judged(ship.id):
        if ship.failed and ship.report is not None and mine:
            _verdict(world, ship, rollout, ship.failed)
        elif down:
            _verdict(world, ship, rollout, down[0][1])
            wanted_changed(world, ship)
    return [(each, why) for each, why in down if ship.seats[each.seat].user is not None]


def refuse(world: World, ship: Ship, trial: Trial, why: str) -> None:
    """The image does not run on this ship: it keeps the one before."""
    _end(world, ship, trial)
    rollout = world.rollouts[trial.project]
    if trial.pulled:
        rollout = replace(rollout, fetched=(*rollout.fetched, ship.id))
    _verdict(world, ship, rollout, why)


def _verdict(world: World, ship: Ship, rollout: Rollout, why: str) -> None:
    ship.trial_port_at = ship.trial_port_until = 0.0
    world.rollouts[rollout.project] = replace(rollout, refused=(*rollout.refused, (ship.id, why)))
    text = f"{rollout.project}: the image pushed last does not run on {ship.id}, where nobody is touched: {why}"
    world.notify(Notify("warning", "image_refused", rollout.project, text))
