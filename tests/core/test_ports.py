"""Other programs hold ports of a ship's range: workspaces find others quickly, and it is nobody's fault."""

from __future__ import annotations

import pytest

from mux.core.events import SeatReleased, ShipReported
from mux.core.model import ProjectName, ReportedState, ShipId, ShipReport, UserId, WorkspaceReport
from tests.core.room import Room, event_spec, project

ONE = ShipId("ship-0001")
INTRO = ProjectName("intro")
ADA = UserId("ada")


def rounds_until_ready(room: Room, most: int) -> int:
    """Heartbeats that pass until nothing is failed or without a route; fails the test after ``most``."""
    for number in range(most):
        room.settle()
        free = sum(len(ship.seats) - ship.assigned for ship in room.fleet.world.ships.values() if not ship.gone)
        routed = {user for user, _ in room.routes()} == set(room.fleet.world.assignments)
        if room.fleet.world.ships and routed and room.fleet.world.offers.total == free:
            return number
        room.do(after=5)
        for ship in list(room.machines):
            room.report(ship)
    pytest.fail(f"not ready after {most} heartbeats")


@pytest.mark.parametrize("taken", [1, 3, 10, 40, 50])
def test_warm_workspaces_pass_by_any_number_of_taken_ports(taken: int) -> None:
    room = Room(event_spec(attendees=2))
    room.answer_all()
    room.machines[ONE].taken = frozenset(range(20_000, 20_000 + taken))
    assert rounds_until_ready(room, most=12) <= 10
    assert list(room.states()) == [ONE], "the ship was blamed for its neighbour"
    assert not room.fleet.world.broken
    assert not [notice for notice in room.notices if notice.code in ("workspace_failed", "project_broken")]


@pytest.mark.parametrize("taken", [1, 10, 40, 50])
def test_a_bound_workspace_keeps_its_identity_and_passes_by_taken_ports(taken: int) -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    room.log_in("ada")
    room.settle()
    _, seat = room.fleet.world.seat_of(ADA) or pytest.fail("no seat")
    before = seat.workspaces[INTRO].id
    room.machines[ONE].taken = frozenset(range(20_000, 20_000 + taken))
    room.report(ONE)
    assert not room.routes()
    assert rounds_until_ready(room, most=12) <= 10
    assert seat.workspaces[INTRO].id == before
    assert seat.workspaces[INTRO].port >= 20_000 + taken
    place = room.fleet.published().routes[ADA, INTRO]
    assert place is not None
    assert place.port == seat.workspaces[INTRO].port


def test_words_about_the_port_before_do_not_move_a_workspace_twice() -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    room.log_in("ada")
    room.settle()
    _, seat = room.fleet.world.seat_of(ADA) or pytest.fail("no seat")
    workspace = seat.workspaces[INTRO]
    known = room.machines[ONE]
    assert known.link is not None
    ports = set()
    for restarts in range(3):  # three reports of one conflict, sent before the ship was told of the move
        late = WorkspaceReport(workspace.id, ReportedState.RESTARTING, reason="port_in_use", restarts=restarts, epoch=1)
        known.running[workspace.id] = late
        known.seq += 1
        room.do(ShipReported(ONE, known.link, ShipReport(known.seq, 0, workspaces=tuple(known.running.values()))))
        ports.add(workspace.port)
    assert len(ports) == 1


def test_a_healthy_workspace_is_not_moved_for_an_old_reason() -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    ship = room.fleet.world.ships[ONE]
    before = {workspace.id: workspace.port for workspace in ship.workspaces.values()}
    known = room.machines[ONE]
    known.running = {
        identity: WorkspaceReport(identity, ReportedState.HEALTHY, reason="port_in_use") for identity in known.running
    }
    known.seq += 1
    assert known.link is not None
    room.do(ShipReported(ONE, known.link, ShipReport(known.seq, 99, workspaces=tuple(known.running.values()))))
    assert {workspace.id: workspace.port for workspace in ship.workspaces.values()} == before


def test_a_ship_whose_every_port_is_taken_is_replaced_in_the_end() -> None:
    room = Room(event_spec(attendees=2))
    room.answer_all()
    room.machines[ONE].taken = frozenset(range(20_000, 20_064))
    for _ in range(200):
        room.settle()
        room.do(after=5)
        if ONE not in room.states():
            break
        room.report(ONE)
    assert ONE not in room.states()


def test_a_ship_without_a_free_port_says_so_once_and_goes_on_when_one_is_free() -> None:
    names = [project(f"p{number}") for number in range(40)]
    room = Room(event_spec(*names, attendees=2))  # 80 workspaces, 64 ports
    room.settle()
    room.settle()
    assert [notice.code for notice in room.notices].count("ports_exhausted") == 1
    assert len(room.fleet.world.ships[ONE].workspaces) == 64


def test_ports_of_what_is_still_draining_are_not_given_again() -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    for _ in range(70):  # the ship never says that anything has stopped
        room.log_in("ada")
        room.do(SeatReleased(ADA))
        for workspace in list(room.fleet.world.ships[ONE].workspaces.values()):
            assert 20_000 <= workspace.port < 20_064
    assert len(room.fleet.world.ships[ONE].workspaces) <= 64


def test_what_a_ship_says_before_it_has_reached_a_move_is_about_the_port_before() -> None:
    """A report under way says healthy, of a port that the workspace has already left again: no route to the new one."""
    room = Room(event_spec(attendees=1, seats_per_ship=1))
    room.settle()
    room.log_in("ada")
    room.settle()
    known = room.machines[ONE]
    workspace = next(iter(room.fleet.world.ships[ONE].workspaces.values()))
    taken = WorkspaceReport(workspace.id, ReportedState.RESTARTING, reason="port_in_use", epoch=1)
    healthy = WorkspaceReport(workspace.id, ReportedState.HEALTHY, epoch=1)

    def say(word: WorkspaceReport, generation: int) -> None:
        known.seq += 1
        assert known.link is not None
        room.do(ShipReported(ONE, known.link, ShipReport(known.seq, generation, workspaces=(word,))), after=2)

    generation = room.fleet.world.ships[ONE].generation
    say(taken, generation)
    assert room.fleet.world.ships[ONE].generation == generation + 1
    say(healthy, generation)
    assert room.routes() == set()
    say(healthy, generation + 1)
    assert room.routes() == {("ada", "intro")}


def test_a_restart_does_not_take_words_about_an_old_port_for_words_about_the_new_one() -> None:
    room = Room(event_spec(attendees=1, seats_per_ship=1))
    room.settle()
    room.log_in("ada")
    room.settle()
    generation = room.fleet.world.ships[ONE].generation
    workspace = next(iter(room.fleet.world.ships[ONE].workspaces.values()))
    taken = WorkspaceReport(workspace.id, ReportedState.RESTARTING, reason="port_in_use", epoch=1)
    link = room.machines[ONE].link
    assert link is not None
    room.do(ShipReported(ONE, link, ShipReport(99, generation, workspaces=(taken,))), after=2)
    room.restart()
    link = room.dial(ONE)
    healthy = WorkspaceReport(workspace.id, ReportedState.HEALTHY, epoch=1)
    room.do(ShipReported(ONE, link, ShipReport(1, generation, workspaces=(healthy,))))
    assert room.routes() == set()
    room.do(ShipReported(ONE, link, ShipReport(2, generation + 1, workspaces=(healthy,))))
    assert room.routes() == {("ada", "intro")}
