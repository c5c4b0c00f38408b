"""What one hostile ship may bring about: so much and no more, and nothing of it at the cost of others.

The ship holds its own key, so all that it says is heard. It may spoil its own seats; it must not drown what others say,
fill the store, or hold up for ever what waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mux.core.allowance import Allowance
from mux.core.commands import SaveShip
from mux.core.events import ProjectPushed, ShipDialed, ShipReported, StartOverAsked
from mux.core.files import files_views
from mux.core.model import (
    LinkId,
    ProjectName,
    ReportedState,
    Resources,
    RolloutSpec,
    ShipId,
    ShipReport,
    StartedOver,
    UserId,
    WorkspaceReport,
)
from mux.core.rollout import Pace, RolloutState
from mux.core.rollout_trials import AWAY_MAX_S, PULL_MAX_S, TRIALS_MAX_S
from mux.core.speakers import BURST, PER_S
from tests.core.room import Room, event_spec, project

HOSTILE, HONEST = ShipId("ship-0001"), ShipId("ship-0002")
INTRO = ProjectName("intro")
NEW = "sha256:" + "1" * 64
NOTHING = Resources()
HOUR_S = 3600.0


def two_ships() -> Room:
    """Two ships of two seats with somebody on each of them."""
    room = Room(replace(event_spec(project()), rollout=RolloutSpec(monitor_s=10.0)))
    room.settle()
    room.log_in("ada", "bob", "cyd")
    room.settle()
    return room


def says(room: Room, words: Sequence[WorkspaceReport], *, resources: Resources = NOTHING, after: float = 0.05) -> int:
    """The hostile ship reports; how often it is written to the store for that."""
    known, ship = room.machines[HOSTILE], room.fleet.world.ships[HOSTILE]
    assert known.link is not None
    known.seq += 1
    report = ShipReport(known.seq, ship.generation, "", tuple(words), resources=resources)
    commands = room.do(ShipReported(HOSTILE, known.link, report), after=after)
    room.answer()
    return sum(isinstance(command, SaveShip) and command.ship.id == HOSTILE for command in commands)


def held_by(room: Room) -> list[WorkspaceReport]:
    return list(room.machines[HOSTILE].running.values())


def test_an_allowance_is_so_much_at_once_and_then_so_much_in_a_time() -> None:
    allowance = Allowance(burst=3, per_s=0.5, now=100.0)
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(102.0), allowance.take(102.0)] == [True, False]
    assert not allowance.take(50.0), "a clock that went back gives nothing"
    assert [allowance.take(1e9) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("what", ["failures", "memory", "disk"])
def test_a_ship_that_gives_reason_for_notices_without_end_is_left_out(what: str) -> None:
    room = two_ships()
    room.do(after=1.0)
    before, spent = len(room.notices), 0
    started = room.now
    for turn in range(1_500):
        words, resources = held_by(room), Resources()
        if what == "failures":
            state = ReportedState.FAILED if turn % 2 else ReportedState.HEALTHY
            words = [replace(each, state=state, reason="exited" if turn % 2 else "") for each in words]
        elif what == "memory":
            words = [replace(each, memory_kills=turn % 2) for each in words]
        else:
            resources = Resources(disk_total_bytes=1 << 40, disk_free_bytes=(turn % 2) << 40)
        spent = max(spent, says(room, words, resources=resources))
    told = room.notices[before:]
    assert len(told) <= BURST + 3 + (room.now - started) * PER_S
    assert [notice.code for notice in told].count("notices_left_out") == 1
    assert spent <= 1

    other = room.machines[HONEST]
    other.failing = frozenset({INTRO})
    room.report(HONEST)
    room.answer()
    assert any(notice.code == "workspace_failed" and HONEST in notice.text for notice in room.notices[before:])


def test_a_ship_that_has_been_quiet_for_a_while_is_heard_again() -> None:
    room = two_ships()
    flicker = [Resources(disk_total_bytes=1 << 40, disk_free_bytes=turn << 40) for turn in (0, 1)]
    for turn in range(4 * BURST):
        says(room, held_by(room), resources=flicker[turn % 2])
    before = len(room.notices)
    for turn in range(8 * BURST):
        says(room, held_by(room), resources=flicker[turn % 2], after=0.0 if turn else HOUR_S)
    codes = [notice.code for notice in room.notices[before:]]
    assert codes.count("notices_left_out") == 1
    assert codes.count("disk_low") + codes.count("disk_has_room") >= BURST


def test_who_takes_a_ships_name_cannot_silence_it() -> None:
    room = two_ships()
    before = len(room.notices)
    for number in range(500):
        ship = (HOSTILE, HONEST)[number % 2]
        room.do(ShipDialed(ship, LinkId(9_000 + number), f"key {number}", "boot 1", token_ok=False), after=0.05)
        room.answer()
    told = [notice.code for notice in room.notices[before:]]
    assert told.count("second_claimant") <= BURST + 1
    assert told.count("notices_left_out") == 1
    assert len(room.refused) == 500
    says(room, held_by(room), resources=Resources(disk_total_bytes=1 << 40, disk_free_bytes=0))
    assert room.notices[-1].code == "disk_low"


def test_how_a_wish_ended_is_written_down_once() -> None:
    room = two_ships()
    room.do(StartOverAsked(UserId("ada"), INTRO, "a.ipynb"))
    room.answer()
    wish = files_views(room.fleet.world, UserId("ada"))[0].wish
    assert wish is not None
    asked = next(w.id for w in room.fleet.world.ships[HOSTILE].workspaces.values() if w.start_over)
    written = 0
    for turn in range(100):
        ended = StartedOver(wish.number if turn % 2 else turn, done=turn % 3 == 0, kept=f"{turn}" * 500)
        words = [replace(each, started_over=ended if each.id == asked else None) for each in held_by(room)]
        written += says(room, words)
    assert written == 1
    assert files_views(room.fleet.world, UserId("ada"))[0].ended is not None


@pytest.mark.parametrize("trick", ["away and back", "another program has the port"])
def test_a_rollout_does_not_wait_for_ever_for_a_ship_that_puts_it_off(trick: str) -> None:
    room = two_ships()
    room.do(ProjectPushed(INTRO, "images/new", NEW, Pace()))
    started = room.now
    while room.fleet.world.rollouts[INTRO].state is RolloutState.RUNNING and room.now < started + 3 * TRIALS_MAX_S:
        room.answer_all()
        room.report(HONEST)
        room.answer_all()
        words = held_by(room)
        ship = room.fleet.world.ships[HOSTILE]
        for trial in ship.trials.values():
            word = WorkspaceReport(trial.id, ReportedState.STARTING, digest=NEW)
            if trick == "another program has the port":
                late = trial.ends_at - room.now < 60
                word = replace(word, state=ReportedState.PULLING)
                word = replace(word, state=ReportedState.FAILED, reason="port_in_use") if late else word
            elif not trial.away:
                word = replace(word, state=ReportedState.FAILED, reason="registry_away", detail="no answer")
            words.append(word)
        says(room, words, after=20.0)
    rollout = room.fleet.world.rollouts[INTRO]
    assert rollout.state is RolloutState.DONE
    assert [ship for ship, _ in rollout.refused] == [HOSTILE]
    assert room.now - started <= TRIALS_MAX_S + 10 * 60
    assert TRIALS_MAX_S >= PULL_MAX_S + AWAY_MAX_S
