"""Rollouts: pushed, steered, and brought forward whenever anything has happened.

Every ship that is up gets the image and proves it with a throw-away workspace; then bound workspaces are swapped in
waves. `rollout` says what a rollout is, `rollout_trials` and `rollout_waves` do these two things; this module decides
when a rollout goes on, stops and ends.

Rules: nobody's workspace is stopped for an image that was not proved on its ship. Of two pushes of a project the later
one wins, and takes over what the earlier one has under way. A rollout that meets too many failures stops and says why;
free seats then have the image before again, and whoever was swapped keeps what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from mux.core.commands import Notify
from mux.core.events import AttendeesActive, ProjectPushed, RolloutSteered, UpdateAccepted
from mux.core.model import ProjectName, ShipId
from mux.core.pages import come_back
from mux.core.plural import counted
from mux.core.rollout import Rollout, RolloutState, takes_part
from mux.core.rollout_trials import judge_by_use, keep_trials
from mux.core.rollout_waves import (
    begin_wave,
    forget_saves,
    keep_wave,
    may_begin,
    may_go_back,
    offered,
    swap_max_s,
    turn_back,
    waiting,
)
from mux.core.ships import Ship
from mux.core.workspaces import wanted_changed
from mux.core.world import World

LOOK_S = 5.0
"""How soon it is seen that a rollout may go on, or has come to its end, by what ships alone have said of others."""


def restore(world: World, stored: Iterable[Rollout]) -> None:
    """Rollouts as they were stored; those that the event file in force has overruled are dropped.

    The clock may have been set back since: what is waited for is then no further away than when its wait began.
    """
    latest = world.now + world.spec.rollout.monitor_s
    world.saved_rollouts = {rollout.project: rollout for rollout in stored}
    world.rollouts = {
        name: replace(
            rollout,
            watched_until=min(rollout.watched_until, latest),
            wave_began_at=min(rollout.wave_began_at, world.now),
        )
        for name, rollout in world.saved_rollouts.items()
    }
    if world.rollouts:
        come_back(world)
    for rollout in world.rollouts.values():
        for ship in world.ships.values():
            # It may have been told of a trial, which is not known any more: what it is told now is something else.
            if rollout.active and not ship.gone and not rollout.judged(ship.id):
                wanted_changed(world, ship)
    spec_changed(world)
    for ship in world.ships.values():
        for workspace in ship.workspaces.values():
            if workspace.swap_until > (latest := world.now + swap_max_s(world)):
                workspace.swap_until = latest
                world.touch(ship)
            if workspace.swap_until > world.now:
                world.deadlines.set(("rollout", workspace.id), workspace.swap_until)
            if workspace.previous:
                may_go_back(world, workspace)
    for rollout in world.rollouts.values():
        if rollout.pace.not_before > world.now:
            world.deadlines.set(("rollout", f"{rollout.project}/at"), rollout.pace.not_before)


def spec_changed(world: World) -> None:
    """The event file's word on an image is the later one where it has changed."""
    for name, rollout in list(world.rollouts.items()):
        spec = world.projects.get(name)
        if spec is None or spec.digest != rollout.file_digest:
            _forget(world, name)


def _forget(world: World, name: ProjectName) -> None:
    forget_saves(world, world.rollouts.pop(name), set())
    world.waves.pop(name, None)
    for ship in world.ships.values():
        ended = ship.trials.pop(name, None) is not None
        for workspace in ship.workspaces.values():
            if workspace.project == name and workspace.previous:
                workspace.previous = ""
                ended = True
        if ended:
            wanted_changed(world, ship)


def pushed(world: World, event: ProjectPushed) -> None:
    """Begin a rollout; what an earlier one of the project has under way goes on as this one's."""
    _begin(world, event)


def _begin(world: World, event: ProjectPushed, *, rollback: bool = False) -> None:
    project = event.project
    spec, before = world.projects.get(project), world.rollouts.get(project)
    if spec is None:
        return
    was = (spec.image, spec.digest) if before is None else _in_force(before)
    back = _behind(before, event.digest) if before is not None and not rollback else ("", "")
    world.rollouts[project] = Rollout(
        project=project,
        number=before.number + 1 if before else 1,
        image=event.image,
        digest=event.digest,
        was_image=was[0],
        was_digest=was[1],
        file_digest=spec.digest,
        pace=event.pace,
        pushed_at=world.now,
        note=event.note,
        rollback=rollback,
        wave=before.wave if before else (),
        back_image=back[0],
        back_digest=back[1],
    )
    if event.pace.not_before > world.now:
        world.deadlines.set(("rollout", f"{project}/at"), event.pace.not_before)
    what = "is being rolled back" if rollback else "gets another image"
    text = f"{project} {what}; `mux rollout status` shows how far that is."
    world.notify(Notify("info", "rollout_begun", project, text))
    _tell_all(world)


def _in_force(before: Rollout) -> tuple[str, str]:
    """What people have, or are to have in any case, when another image is pushed: that is gone back to from it.

    What a rollback under way takes away is bad: nobody gets it back because something else is pushed meanwhile.
    """
    taking_back = before.rollback and before.state is RolloutState.RUNNING
    if before.state is RolloutState.DONE or taking_back:
        return before.image, before.digest
    return before.was_image, before.was_digest


def _behind(before: Rollout, digest: str) -> tuple[str, str]:
    """What a rollback goes back to where the image in force is pushed again; nothing where it is another one."""
    if digest != _in_force(before)[1]:
        return "", ""
    if before.state is RolloutState.DONE and before.can_be_taken_back:
        return before.rolls_back_to
    return before.back_image, before.back_digest


def _tell_all(world: World) -> None:
    """What ships are to hold has changed."""
    for ship in world.ships.values():
        if not ship.gone:
            wanted_changed(world, ship)


def steered(world: World, event: RolloutSteered) -> None:
    """Carry out an organizer's word; one that does not fit changes nothing."""
    rollout = world.rollouts.get(event.project)
    if rollout is None:
        return
    goes_on = rollout.state is RolloutState.RUNNING
    match event.order:
        case "pause" if goes_on:
            world.rollouts[event.project] = replace(rollout, paused=True)
        case "resume" if goes_on or rollout.state is RolloutState.STOPPED:
            world.rollouts[event.project] = replace(
                rollout, state=RolloutState.RUNNING, paused=False, why="", refused=(), fetched=(), failed=()
            )
            _tell_all(world)
        case "abort" if goes_on or rollout.state is RolloutState.STOPPED:
            _end(world, rollout, RolloutState.ABORTED, "an organizer aborted it")
        case "rollback" if rollout.can_be_taken_back:
            pace = replace(rollout.pace, idle=False, not_before=0.0, offer=False)
            push = ProjectPushed(event.project, *rollout.rolls_back_to, pace, rollout.note)
            _begin(world, push, rollback=True)


def accepted(world: World, event: UpdateAccepted) -> None:
    """An attendee takes what they are offered: they are swapped next. A word that does not fit changes nothing."""
    rollout, found = world.rollouts.get(event.project), world.seat_of(event.user)
    if rollout is None or found is None or rollout.number != event.number or event.user in rollout.accepted:
        return
    if offered(rollout, *found):
        world.rollouts[event.project] = replace(rollout, accepted=(*rollout.accepted, event.user))


def active(world: World, event: AttendeesActive) -> None:
    """Remember when attendees were last active, of those who are led anywhere."""
    times = world.worked if event.source == "page" else world.active
    for pair in event.active:
        if pair in world.published_routes:
            times[pair] = world.now


def look(world: World, subject: str) -> None:
    """A moment has come at which something may go on: free seats change when a rollout may touch people."""
    if (found := world.ships.get(ShipId(subject.partition(".")[0]))) is not None:
        world.touch(found, save=False)
        return
    name, _, what = subject.partition("/")
    rollout = world.rollouts.get(ProjectName(name))
    if rollout is not None and what == "at":
        for ship in world.ships.values():
            if not ship.gone:
                wanted_changed(world, ship)
    elif rollout is not None and what == "idle":
        # One that is done is looked at on ships that have changed: these may.
        for ship, _ in waiting(world, rollout):
            world.touch(ship, save=False)


def advance(world: World, touched: Iterable[ShipId], *, stirred: bool) -> None:
    """Bring every rollout as far as it can come now; one that has ended is looked at on ships that have changed.

    Args:
        world: the state.
        touched: ships that have changed.
        stirred: more has happened than that ships and pages said something. Without that, the words of a thousand ships
            cost no look at all others.
    """
    looked_at = [world.ships[ship] for ship in touched if ship in world.ships]
    for name, rollout in list(world.rollouts.items()):
        saved = world.saved_rollouts.get(name)
        steered = saved is None or _course(saved) != _course(rollout)
        under_way = rollout.state is RolloutState.RUNNING or rollout.wave or rollout.watched_until
        if steered:
            _advance(world, name, list(world.ships.values()), thorough=True)
        elif looked_at or rollout is not saved or (under_way and (stirred or world.save_requests)):
            _advance(world, name, looked_at, thorough=rollout is not saved or (stirred and bool(under_way)))


def _course(rollout: Rollout) -> tuple[int, RolloutState, bool]:
    """What counts for every ship."""
    return rollout.number, rollout.state, rollout.paused


def _advance(world: World, name: ProjectName, ships: Sequence[Ship], *, thorough: bool) -> None:
    """Bring one rollout forward.

    Args:
        world: the state.
        name: of which project.
        ships: that have changed, or all.
        thorough: look for those who are still to be swapped on all ships, whatever has changed.
    """
    before = world.rollouts[name]
    judged = before.all_judged if before.state is RolloutState.RUNNING else frozenset[ShipId]()
    for ship in ships:
        if ship.id in judged and name not in ship.trials:
            continue  # it has nothing to prove any more
        for workspace, why in judge_by_use(world, world.rollouts[name], ship):
            turn_back(world, ship, workspace, why)
        keep_trials(world, world.rollouts[name], ship)
    quiet = keep_wave(world, world.rollouts[name], None if thorough else ships)
    rollout = world.rollouts[name]
    if rollout.state is RolloutState.RUNNING and not rollout.rollback and (why := _too_much(world, rollout)):
        _end(world, rollout, RolloutState.STOPPED, why)
        return
    if rollout.state is RolloutState.DONE and (why := _let_down(world, rollout)):
        _end(world, rollout, RolloutState.STOPPED, why)
        return
    if not quiet or not (thorough or rollout is not before or _may_go_on(world, rollout, ships)):
        return
    if not may_begin(world, rollout):
        return
    left = waiting(world, rollout)
    if left and rollout.pace.offer and not rollout.offered_at:
        rollout = _offer(world, rollout)
    if left:
        begin_wave(world, rollout, left)
    elif rollout.state is RolloutState.RUNNING and (rollout.proved or (rollout.rollback and rollout.refused)):
        _end(world, rollout, RolloutState.DONE, "")


def _may_go_on(world: World, rollout: Rollout, ships: Sequence[Ship]) -> bool:
    """Whether changes of some ships alone let a rollout go on. What else they may mean is seen a few seconds later."""
    running = rollout.state is RolloutState.RUNNING
    hangs_on_people = rollout.pace.idle or rollout.pace.offer
    if not (running and hangs_on_people) and waiting(world, rollout, ships):
        return True
    if running and ships:
        world.deadlines.set_once(("rollout", f"{rollout.project}/look"), world.now + LOOK_S)
    return False


def _offer(world: World, rollout: Rollout) -> Rollout:
    """From now on attendees are asked; it is not taken back by a ship that comes later."""
    rollout = world.rollouts[rollout.project] = replace(rollout, offered_at=world.now)
    text = f"{rollout.project}: attendees are offered the image pushed last; who accepts it gets it."
    world.notify(Notify("info", "rollout_offered", rollout.project, text))
    return rollout


def _too_much(world: World, rollout: Rollout) -> str:
    """Why a rollout cannot go on; empty while it can."""
    failures = (*rollout.failed, *rollout.refused)
    if not failures:
        return ""
    up = [ship.id for ship in world.ships.values() if takes_part(ship)]
    refused_by_most = rollout.all_judged.issuperset(up) and len(up) > 2 * len(rollout.all_proved.intersection(up))
    if not refused_by_most and rollout.failures <= world.spec.rollout.failures_max:
        return ""
    subject, why = failures[0]
    return f"{counted(rollout.failures, 'failure')}; {subject}: {why}"


def _let_down(world: World, rollout: Rollout) -> str:
    """Why an image that is in force should not be: most ships that came later do not run it. Empty otherwise."""
    refused = len(rollout.refused)
    if rollout.rollback or refused <= max(world.spec.rollout.failures_max, len(rollout.proved)):
        return ""
    subject, why = rollout.refused[-1]
    return f"it does not run on {counted(refused, 'ship')}; {subject}: {why}"


def _end(world: World, rollout: Rollout, state: RolloutState, why: str) -> None:
    world.rollouts[rollout.project] = replace(rollout, state=state, paused=False, why=why)
    _tell_all(world)
    if state is RolloutState.DONE:
        text = f"{rollout.project}: everybody has the image pushed last."
        if rollout.failures:
            text = f"{rollout.project} has the image pushed last, but for {rollout.failures} that did not take it."
        world.notify(Notify("info", "rollout_done", rollout.project, text))
    else:
        word: Literal["error", "warning"] = "error" if state is RolloutState.STOPPED else "warning"
        text = (
            f"The rollout of {rollout.project} has ended: {why}. Free seats have the image before; whoever was swapped "
            f"keeps what runs. `mux rollout rollback {rollout.project}` puts the image before back everywhere."
        )
        world.notify(Notify(word, f"rollout_{state}", rollout.project, text))
