"""Data paths: a ship is lost when it is silent and out of the proxies' reach, both for long enough."""

from __future__ import annotations

from mux.core.events import FleetParked, FleetUnparked, LinkLost, PathsReported
from mux.core.model import LinkId, ShipId, UserId, WorkspaceId
from tests.core.room import Room, event_spec

ONE = ShipId("ship-0001")
ADA = UserId("ada")
GRACE_S, LOST_S, BATCH_S = 20.0, 120.0, 5.0


class Paths:
    """A room with Ada on the first of some ships, and what the proxies say of it."""

    def __init__(self, ships: int = 3) -> None:
        self.room = Room(event_spec(attendees=2 * ships, seats_per_ship=2, heartbeat_grace_s=GRACE_S))
        self.room.settle()
        self.room.log_in("ada")
        self.room.settle()
        assert self.room.seats()[ADA] == (ONE, 0)
        self.held = self.workspace(ONE)

    def workspace(self, ship: ShipId) -> WorkspaceId:
        return self.room.fleet.world.ships[ship].seats[0].workspaces[self.room.spec.projects[0].name].id

    def silence(self, ship: ShipId = ONE) -> None:
        """Its link ends and its heartbeat deadline passes; the others are heard from meanwhile."""
        known = self.room.machines[ship]
        self.room.do(LinkLost(ship, known.link or LinkId(0)))
        known.link, known.accepted = None, False
        self.wait(GRACE_S + 1)

    def wait(self, seconds: float) -> None:
        """Time passes; whoever has a link reports."""
        self.room.do(after=seconds / 2)
        for ship, known in self.room.machines.items():
            if known.link is not None:
                self.room.report(ship)
        self.room.do(after=seconds / 2)

    def fails(self, seconds: float) -> None:
        """For so long, Ada's workspace is tried and not reached."""
        for _ in range(round(seconds / BATCH_S)):
            self.room.do(PathsReported((), (self.held,)))
            self.wait(BATCH_S)
        self.room.do(PathsReported((), (self.held,)))

    @property
    def lost(self) -> bool:
        return bool(self.room.fleet.world.ships[ONE].kept)


def test_a_ship_that_is_silent_and_out_of_reach_for_long_enough_is_lost_and_its_attendees_move() -> None:
    paths = Paths()
    paths.silence()
    paths.fails(LOST_S - BATCH_S)
    assert not paths.lost
    paths.fails(BATCH_S)
    assert paths.lost
    assert paths.room.seats()[ADA][0] != ONE
    assert paths.room.kept.epochs[ADA] == 2


def test_what_was_out_of_reach_while_it_was_parked_counts_for_nothing() -> None:
    paths = Paths()
    paths.silence()
    paths.fails(LOST_S - BATCH_S)
    paths.room.do(FleetParked())
    paths.room.do(FleetUnparked())
    paths.wait(BATCH_S)
    paths.fails(BATCH_S)
    assert not paths.lost
    paths.fails(LOST_S)
    assert paths.lost


def test_silence_alone_moves_nobody() -> None:
    paths = Paths()
    paths.silence()
    paths.wait(100 * LOST_S)
    assert paths.room.seats()[ADA][0] == ONE


def test_a_failing_path_alone_moves_nobody() -> None:
    paths = Paths()
    paths.fails(10 * LOST_S)
    assert paths.room.seats()[ADA][0] == ONE


def test_a_path_that_failed_long_before_the_silence_does_not_count_from_then() -> None:
    paths = Paths()
    paths.fails(2 * LOST_S)
    paths.silence()
    paths.fails(LOST_S - 2 * BATCH_S)
    assert not paths.lost


def test_one_workspace_that_is_reached_speaks_for_its_ship() -> None:
    paths = Paths()
    paths.room.log_in("bob")
    paths.room.settle()
    other = next(w for w in paths.room.fleet.world.ships[ONE].workspaces if w != paths.held)
    paths.silence()
    paths.fails(LOST_S - BATCH_S)
    paths.room.do(PathsReported((other,), (paths.held,)))
    paths.fails(LOST_S - 2 * BATCH_S)
    assert not paths.lost


def test_failures_far_apart_are_no_failing_path() -> None:
    paths = Paths()
    paths.silence()
    for _ in range(5):
        paths.room.do(PathsReported((), (paths.held,)))
        paths.wait(LOST_S)
    assert not paths.lost


def test_what_is_said_of_other_workspaces_is_not_heard() -> None:
    paths = Paths()
    paths.silence()
    paths.held = WorkspaceId(f"{ONE}.0.intro.999")
    paths.fails(2 * LOST_S)
    assert not paths.lost


def test_when_most_ships_are_silent_it_is_the_mux_that_is_cut_off() -> None:
    paths = Paths(3)
    for number in (1, 2, 3):
        paths.silence(ShipId(f"ship-{number:04d}"))
    paths.fails(2 * LOST_S)
    assert not paths.lost


def test_organizers_are_told_once_before_it_comes_to_that() -> None:
    paths = Paths()
    paths.silence()
    paths.fails(LOST_S)
    paths.room.answer_all()
    assert [notice.code for notice in paths.room.notices if notice.subject == ONE].count("path_failing") == 1
