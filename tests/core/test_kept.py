"""Work that is kept: a ship that was given up for lost, and what is done with it when it comes back."""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import SendDesired, TerminateShip
from mux.core.events import (
    LinkLost,
    MachinesListed,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDrained,
    ShipReleased,
)
from mux.core.model import LinkId, ProjectName, ReportedState, ShipId, UserId, WorkspaceId, WorkspaceReport
from mux.core.views import Holder, shared_holder
from tests.core.room import Room, event_spec, project

ONE = ShipId("ship-0001")
ADA = UserId("ada")


def lost_room() -> tuple[Room, WorkspaceId]:
    """Ada sits on the first ship, which falls silent and is declared lost; her workspace there."""
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.settle()
    room.log_in("ada")
    room.settle()
    assert room.seats()[ADA][0] == ONE
    (held,) = room.fleet.world.ships[ONE].seats[room.seats()[ADA][1]].workspaces.values()
    silence(room)
    room.do(ShipDeclaredLost(ONE))
    return room, held.id


def silence(room: Room) -> None:
    """The link of the first ship ends and its heartbeat deadline passes."""
    link = room.machines[ONE].link
    room.do(LinkLost(ONE, link or LinkId(0)))
    room.machines[ONE].link, room.machines[ONE].accepted = None, False
    room.do(after=room.spec.fleet.heartbeat_grace_s + 1)


def settle_without_one(room: Room) -> None:
    """Everybody but the first ship goes on."""
    away = room.machines[ONE]
    for _ in range(10):
        room.answer_all()
        for ship, known in list(room.machines.items()):
            if known is away:
                continue
            if known.link is None:
                room.dial(ship)
                room.answer_all()
            if known.accepted:
                room.report(ship)


def told(room: Room) -> SendDesired:
    """What the first ship is told when it dials again."""
    room.dial(ONE)
    (desired,) = [command for command in room.pending if isinstance(command, SendDesired) and command.ship == ONE]
    return desired


def test_a_lost_ship_with_work_on_it_is_not_ended_and_its_attendees_move() -> None:
    room, _ = lost_room()
    assert not [command for command in room.pending if isinstance(command, TerminateShip)]
    settle_without_one(room)
    assert room.seats()[ADA][0] != ONE
    assert ONE in room.machines
    assert room.fleet.world.ships[ONE].kept_of == (ADA,)
    assert "keeps work of 1 attendee" in list(room.fleet.world.ships[ONE].conditions())


def test_a_lost_ship_with_nobodys_work_on_it_is_ended() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.settle()
    room.do(ShipDeclaredLost(ONE))
    assert TerminateShip(ONE) in room.pending


def test_a_ship_that_comes_back_is_told_to_keep_what_it_holds_and_nothing_else() -> None:
    room, held = lost_room()
    settle_without_one(room)
    desired = told(room).desired
    assert desired.kept == (held,)
    assert desired.workspaces == ()


def test_a_ship_that_comes_back_with_an_old_epoch_gets_neither_routes_nor_newcomers() -> None:
    room, held = lost_room()
    room.dial(ONE)
    room.answer_all()
    machine = room.machines[ONE]
    # It was told, and has not got there: what it holds still runs and answers.
    machine.running = {held: WorkspaceReport(held, ReportedState.HEALTHY, epoch=1)}
    machine.desired = None
    room.report(ONE)
    assert room.routes() == set()
    room.do(ShipCordoned(ONE, cordoned=False))
    room.log_in("bob")
    assert not room.seats()


def test_work_is_kept_over_a_restart_of_the_mux() -> None:
    room, held = lost_room()
    room.restart()
    assert told(room).desired.kept == (held,)
    assert room.fleet.world.ships[ONE].kept_of == (ADA,)


def test_neither_surplus_nor_failure_nor_drain_nor_boot_ends_a_ship_that_keeps_work() -> None:
    room, _ = lost_room()
    settle_without_one(room)
    room.do(ShipDrained(ONE, evict=True))
    room.do(ShipDeclaredLost(ONE))
    for _ in range(5):
        room.do(after=room.spec.fleet.boot_deadline_s)
        settle_without_one(room)
    assert ONE in room.machines
    assert room.fleet.world.ships[ONE].kept


def test_a_released_ship_destroys_what_it_kept_and_is_one_of_the_fleet_again() -> None:
    room, held = lost_room()
    settle_without_one(room)
    room.dial(ONE)
    room.answer_all()
    room.report(ONE)
    room.do(ShipReleased(ONE))
    room.answer_all()
    desired = room.machines[ONE].desired
    assert desired is not None
    assert desired.kept == ()
    assert held not in {workspace.id for workspace in desired.workspaces}
    room.settle()
    ship = room.fleet.world.ships[ONE]
    assert held not in ship.workspaces
    assert ship.healthy


def test_a_ship_that_never_came_back_is_ended_when_it_is_released() -> None:
    room, _ = lost_room()
    settle_without_one(room)
    room.do(ShipReleased(ONE))
    assert TerminateShip(ONE) in room.pending


def test_a_ship_that_keeps_nothing_is_not_touched_by_a_release() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.settle()
    before = room.fleet.world.ships[ONE].record()
    room.do(ShipReleased(ONE))
    assert room.fleet.world.ships[ONE].record() == before


def test_a_lost_ship_whose_machine_is_gone_is_forgotten_with_what_it_kept() -> None:
    room, _ = lost_room()
    settle_without_one(room)
    del room.machines[ONE]
    for _ in range(2):
        room.do(MachinesListed({s: k.machine for s, k in room.machines.items()}, room.now + 15), after=15)
    room.settle()
    assert ONE not in room.states()


def test_only_what_was_bound_is_kept() -> None:
    room = Room(event_spec(project(), project("lazy", start="on_use"), attendees=2, seats_per_ship=2))
    room.settle()
    room.log_in("ada")
    room.settle()
    room.do(ShipDeclaredLost(ONE))
    kept = room.fleet.world.ships[ONE].kept
    assert [(each.workspace.project, each.user, each.epoch) for each in kept.values()] == [("intro", "ada", 1)]
    assert all(workspace.state == "draining" for workspace in room.fleet.world.ships[ONE].workspaces.values())


def test_a_shared_directory_is_whose_seat_shares_it_and_of_a_lost_ship_kept_work() -> None:
    lazy = project("lazy", start="on_use", shared=("data", "more"))
    room = Room(event_spec(project(shared=("data",)), lazy, attendees=2, seats_per_ship=2))
    room.settle()
    world, seats = room.fleet.world, room.fleet.world.ships[ONE].seats
    shared = [next(each.shared for each in seat.workspaces.values()) for seat in seats]
    assert [shared_holder(world, ONE, each, "data") for each in shared] == [None, None]
    room.log_in("ada")
    room.settle()
    mine = shared[room.seats()[ADA][1]]
    found = Holder(ADA, ProjectName("shared.data"), kept=False)
    # What another project of the event has may be on its way: whose it is does not hang on who has opened what.
    assert [shared_holder(world, ONE, mine, name) for name in ("data", "more", "none", "")] == [
        found, replace(found, project=ProjectName("shared.more")), None, None,
    ]  # fmt: skip
    assert shared_holder(world, ONE, next(each for each in shared if each != mine), "data") is None
    assert shared_holder(world, ShipId("ship-0002"), mine, "data") is None
    assert shared_holder(world, ONE, "", "data") is None
    silence(room)
    room.do(ShipDeclaredLost(ONE))
    assert shared_holder(room.fleet.world, ONE, mine, "data") == replace(found, kept=True)
