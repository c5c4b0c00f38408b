"""Swapping bound workspaces to the image of a rollout: a few at a time, idle attendees first, each with a way back.

A swap is another digest for the same workspace, on the same files; its ship stops the one and starts the other. The
image before stands in ``previous`` until the wave has been watched: whatever fails until then goes back.

Rules: one wave of a project at a time, so that never more are away than may be; nobody is swapped on a ship that has
not proved the image, or that is not heard from; whoever went back is left alone; an engine that is away for a moment
turns nobody back. A rollback has no way back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mux.core.commands import Notify
from mux.core.model import ProjectName, ShipId, UserId, WorkspaceId
from mux.core.pages import ask_to_save, has_saved
from mux.core.rollout import FAILURES_KEPT_MAX, Rollout, RolloutState, WaveMarks, takes_part
from mux.core.rollout_trials import is_away, lets_down, still_at
from mux.core.ships import Seat, Ship, Workspace
from mux.core.workspaces import wanted_changed
from mux.core.world import World

SWAP_SLACK_S = 30.0
"""Beside the start itself: the old workspace stops, files are merged, and the ship's word comes here."""
IDLE_LOOK_S = 5.0
"""How often attendees are looked at while those who are left are not idle."""


def bound(world: World, rollout: Rollout, ships: Iterable[Ship] | None = None) -> Iterator[tuple[Ship, Workspace]]:
    """Every workspace of the project whose attendee stays with it, on ships that take part; of ``ships`` or of all."""
    for ship in world.ships.values() if ships is None else ships:
        if not takes_part(ship):
            continue
        for seat in ship.seats:
            workspace = seat.workspaces.get(rollout.project)
            if seat.user is not None and workspace is not None and not seat.leaving:
                yield ship, workspace


def _marks(world: World, project: ProjectName) -> WaveMarks:
    return world.waves.setdefault(project, WaveMarks())


def _under_way(world: World, rollout: Rollout) -> Iterator[tuple[Ship, Workspace]]:
    """Those of `bound` that are in the wave or were left behind by one, without a look at all others."""
    swapped = _marks(world, rollout.project).swapped
    for identity in list(dict.fromkeys((*rollout.wave, *swapped))):
        ship = world.ships.get(ShipId(identity.partition(".")[0]))
        workspace = ship.workspaces.get(identity) if ship is not None else None
        if ship is None or workspace is None or not workspace.previous:
            swapped.pop(identity, None)
        if ship is None or workspace is None or not takes_part(ship):
            continue
        seat = ship.seats[workspace.seat]
        if seat.user is None or seat.leaving or seat.workspaces.get(rollout.project) is not workspace:
            continue
        if workspace.previous or identity in rollout.wave_members:
            yield ship, workspace


def keep_wave(world: World, rollout: Rollout, ships: Iterable[Ship] | None = None) -> bool:
    """Take in how the wave goes. True once there is none under way.

    Args:
        world: the state.
        rollout: whose.
        ships: only these have changed; None if anything may have.
    """
    if ships is not None and _goes_on(world, rollout):
        for ship, workspace in bound(world, rollout, ships):
            _keep_swap(world, ship, workspace)
        return False
    found = list(_under_way(world, rollout))
    forget_saves(world, rollout, {each.id for _, each in found})
    for ship, workspace in found:
        _keep_swap(world, ship, workspace)
    rollout = world.rollouts[rollout.project]
    if not found:
        if rollout.wave or rollout.watched_until:
            world.rollouts[rollout.project] = replace(rollout, wave=(), watched_until=0.0)
        return True
    saving = [_keep_save(world, rollout, ship, each) for ship, each in found]
    away = next((each for _, each in found if _is_away(world, each)), None)
    if away is not None:
        _marks(world, rollout.project).away = away.id
    if any(saving) or away is not None:
        return False
    if not rollout.watched_until:
        until = world.now + world.spec.rollout.monitor_s
        world.rollouts[rollout.project] = replace(rollout, watched_until=until)
        world.deadlines.set(("rollout", rollout.project), until)
        return False
    if world.now < rollout.watched_until:
        world.deadlines.set_once(("rollout", rollout.project), rollout.watched_until)
        return False
    for ship, workspace in found:
        if workspace.previous:
            workspace.previous = ""
            world.touch(ship)
    _end_wave(world, rollout)
    return True


def _is_away(world: World, workspace: Workspace) -> bool:
    return not workspace.healthy and world.now < workspace.swap_until


def _goes_on(world: World, rollout: Rollout) -> bool:
    """Whether a wave is known to go on without a look at all of it: one that was away still is, or it is watched."""
    if world.save_requests:
        return False
    if rollout.watched_until:
        return world.now < rollout.watched_until
    identity = _marks(world, rollout.project).away
    if identity is None or identity not in rollout.wave_members:
        return False
    ship = world.ships.get(ShipId(identity.partition(".")[0]))
    return any(
        each.id == identity and _is_away(world, each) for _, each in bound(world, rollout, [ship] if ship else ())
    )


def _end_wave(world: World, rollout: Rollout) -> None:
    """The wave has been watched. One that an earlier push began is no measure of this one."""
    counts = rollout.wave and rollout.wave_began_at
    world.rollouts[rollout.project] = replace(
        rollout,
        wave=(),
        watched_until=0.0,
        waves=rollout.waves + 1 if counts else rollout.waves,
        waves_s=rollout.waves_s + world.now - rollout.wave_began_at if counts else rollout.waves_s,
    )


def _keep_swap(world: World, ship: Ship, workspace: Workspace) -> None:
    """Look at one workspace of the wave: one that fails while it is on trial goes back."""
    if workspace.healthy or not workspace.previous:
        return
    if not workspace.swap_until:
        # Its ship was booted anew in the middle of it.
        _set_end(world, ship, workspace)
    why = lets_down(workspace.reported)
    if why and not is_away(workspace.reported):
        _back(world, ship, workspace, why)
    elif world.now >= workspace.swap_until:
        if ship.link is None or ship.unreachable:
            _set_end(world, ship, workspace)
        else:
            at = f": {why}" if why else still_at(workspace.reported)
            _back(world, ship, workspace, f"it did not answer within {swap_max_s(world):g} s{at}")


def forget_saves(world: World, rollout: Rollout, waited_for: set[WorkspaceId]) -> None:
    """Pages of others were asked in vain: their ship has booted anew, say. A later wave asks them again."""
    for identity, request in list(world.save_requests.items()):
        ours = request.project == rollout.project and request.user not in world.leaving
        if ours and identity not in waited_for:
            del world.save_requests[identity]


def _keep_save(world: World, rollout: Rollout, ship: Ship, workspace: Workspace) -> bool:
    """Swap one that was waited for once its pages have saved; whether it is waited for on."""
    request = world.save_requests.get(workspace.id)
    if request is None:
        return False
    user = ship.seats[workspace.seat].user
    if user != request.user or not may_begin(world, rollout) or ship.link is None or ship.unreachable:
        del world.save_requests[workspace.id]
        return False
    if not has_saved(world, request):
        return True
    del world.save_requests[workspace.id]
    _swap(world, rollout, ship, workspace)
    return False


def _swap(world: World, rollout: Rollout, ship: Ship, workspace: Workspace) -> None:
    workspace.previous = workspace.digest
    may_go_back(world, workspace)
    _run(world, ship, workspace, rollout.digest)


def may_go_back(world: World, workspace: Workspace) -> None:
    """A workspace has an image to go back to: it is looked at until it has none."""
    _marks(world, workspace.project).swapped[workspace.id] = None


def swap_max_s(world: World) -> float:
    """How long a swap may take, in seconds."""
    return world.spec.rollout.start_max_s + SWAP_SLACK_S


def _set_end(world: World, ship: Ship, workspace: Workspace) -> None:
    workspace.swap_until = world.now + swap_max_s(world)
    world.touch(ship)
    world.deadlines.set(("rollout", workspace.id), workspace.swap_until)


def _back(world: World, ship: Ship, workspace: Workspace, why: str) -> None:
    """A swap has failed: the image before again, on the same files. A rollback is told of, and tried on."""
    rollout = world.rollouts[workspace.project]
    ours = workspace.digest == rollout.digest
    stays = ours and rollout.rollback
    if not stays:
        _run(world, ship, workspace, workspace.previous)
    workspace.previous = ""
    world.touch(ship)
    if ours and not rollout.gave_up(workspace.id):
        failures = (*rollout.failed, (workspace.id, why))[:FAILURES_KEPT_MAX]
        world.rollouts[workspace.project] = replace(rollout, failed=failures)
    after = "It is being tried on." if stays else "It goes back to the image before, with its files."
    text = (
        f"{workspace.project} on {ship.id}, seat {workspace.seat}, did not come up with its new image: {why}. {after}"
    )
    world.notify(Notify("warning", "swap_failed", workspace.id, text))


def turn_back(world: World, ship: Ship, workspace: Workspace, why: str) -> None:
    """A newcomer's workspace that does not come up with the image in force gets the image before."""
    workspace.previous = world.rollouts[workspace.project].was_digest
    _back(world, ship, workspace, why)


def _run(world: World, ship: Ship, workspace: Workspace, digest: str) -> None:
    workspace.digest = digest
    workspace.healthy = False
    workspace.reported = None
    wanted_changed(world, ship)
    workspace.digest_since = ship.generation
    _set_end(world, ship, workspace)


def waiting(world: World, rollout: Rollout, ships: Iterable[Ship] | None = None) -> list[tuple[Ship, Workspace]]:
    """Bound workspaces that are still to be swapped: those first who have been idle longest, or who accepted first.

    Of ``ships``, or of all.
    """
    proved, gave_up = rollout.all_proved, frozenset(failed for failed, _ in rollout.failed)
    found = [
        (ship, workspace)
        for ship, workspace in bound(world, rollout, ships)
        if workspace.digest != rollout.digest and ship.id in proved and workspace.id not in gave_up
    ]
    if rollout.pace.offer:
        turns: dict[UserId | None, int] = {user: turn for turn, user in enumerate(rollout.accepted)}
        return sorted(found, key=lambda each: (turns.get(user_of(*each), len(turns)), each[1].id))
    return sorted(found, key=lambda each: (_active_at(world, *each), each[1].id))


def offered(rollout: Rollout, ship: Ship, seat: Seat) -> bool:
    """Whether the attendee of a seat may say that they want the image, or has said so and does not run it yet."""
    workspace = seat.workspaces.get(rollout.project)
    return (
        rollout.offered_at > 0
        and rollout.active
        and workspace is not None
        and not seat.leaving
        and workspace.digest != rollout.digest
        and takes_part(ship)
        and ship.id in rollout.all_proved
        and not rollout.gave_up(workspace.id)
    )


def user_of(ship: Ship, workspace: Workspace) -> UserId | None:
    """Whose a workspace is."""
    return ship.seats[workspace.seat].user


def _active_at(world: World, ship: Ship, workspace: Workspace) -> float:
    """When an attendee was last active: worked, or where nobody says that, moved bytes, as an open tab does too."""
    user = user_of(ship, workspace)
    if user is None:
        return 0.0
    key = (user, workspace.project)
    worked = ship.worked.get(workspace.id)
    return max(world.worked.get(key, 0.0), world.active.get(key, 0.0) if worked is None else worked)


def idle_now(world: World, ship: Ship, workspace: Workspace) -> bool:
    """Whether an attendee has not been active for a while, as far as is known since the mux started."""
    last = max(_active_at(world, ship, workspace), world.started)
    return world.now - last >= world.spec.rollout.idle_after_s


def begin_wave(world: World, rollout: Rollout, left: list[tuple[Ship, Workspace]]) -> None:
    """Swap the next few of those who are left."""
    able = [(ship, each) for ship, each in left if ship.link is not None and not ship.unreachable]
    if rollout.pace.offer:
        accepted = frozenset(rollout.accepted)
        able = [(ship, each) for ship, each in able if user_of(ship, each) in accepted]
    if rollout.pace.idle:
        able = [(ship, each) for ship, each in able if idle_now(world, ship, each)]
        world.deadlines.set_once(("rollout", f"{rollout.project}/idle"), world.now + IDLE_LOOK_S)
    if not able:
        return
    total = sum(1 for _ in bound(world, rollout))
    chosen = able[: rollout.pace.at_once(total, world.spec.rollout)]
    wave: list[WorkspaceId] = []
    for ship, workspace in chosen:
        if not ask_to_save(world, ship, workspace):
            _swap(world, rollout, ship, workspace)
        wave.append(workspace.id)
    if wave:
        world.rollouts[rollout.project] = replace(rollout, wave=tuple(wave), watched_until=0.0, wave_began_at=world.now)


def may_begin(world: World, rollout: Rollout) -> bool:
    """Whether attendees may be touched now: every ship that is up has given its verdict, and nobody holds it."""
    if rollout.paused or not rollout.active or world.now < max(rollout.pace.not_before, world.pages_back_at):
        return False
    if rollout.state is RolloutState.DONE:
        return True
    judged, marks = rollout.all_judged, _marks(world, rollout.project)
    waited_for = world.ships.get(marks.unjudged) if marks.unjudged is not None else None
    if waited_for is None or waited_for.id in judged or not takes_part(waited_for):
        unjudged = (ship.id for ship in world.ships.values() if ship.id not in judged and takes_part(ship))
        marks.unjudged = next(unjudged, None)
    return marks.unjudged is None
