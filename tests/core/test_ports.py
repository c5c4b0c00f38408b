"""Other programs hold ports of a ship's range: workspaces find others quickly, and it is nobody's fault."""

from __future__ import annotations

import pytest

from mux.core.events import EventSpecApplied, LoggedOut, ProjectRequested, SeatReleased, ShipReported
from mux.core.model import (
    PortName,
    ProjectName,
    ReportedState,
    SessionHash,
    ShipId,
    ShipReport,
    UserId,
    WorkspaceReport,
)
from mux.core.routes import RoutePort
from tests.core.room import Room, event_spec, project

ONE = ShipId("ship-0001")
INTRO = ProjectName("intro")
ADA = UserId("ada")
BOARD, DASH = PortName("board"), PortName("dash")


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


def ports_of(room: Room) -> tuple[RoutePort, ...]:
    """The further ports of Ada's route."""
    place = room.fleet.published().routes[ADA, INTRO]
    assert place is not None
    return place.ports


def with_ports(**ports: int) -> Room:
    """A room whose project has further ports, and Ada in it."""
    named = {PortName(name): port for name, port in ports.items()}
    room = Room(event_spec(project(ports=named), attendees=2))
    room.settle()
    room.log_in("ada")
    room.settle()
    return room


def test_a_route_leads_to_further_ports_of_the_ships_range_that_nobody_else_has() -> None:
    room = with_ports(board=6006, dash=8787)
    machine = room.machines[ONE].machine
    every = [
        port
        for workspace in room.fleet.world.ships[ONE].workspaces.values()
        for port in (workspace.port, *workspace.ports.values())
    ]
    assert len(every) == len(set(every)) == 6
    assert all(machine.port_first <= port < machine.port_first + machine.port_count for port in every)
    assert [port.name for port in ports_of(room)] == [BOARD, DASH]
    assert not any(port.with_prefix for port in ports_of(room))
    desired = room.machines[ONE].desired
    assert desired is not None
    assert {tuple(workspace.ports) for workspace in desired.workspaces} == {(BOARD, DASH)}


def test_a_further_port_that_is_taken_moves_the_workspace_as_its_own_does() -> None:
    room = with_ports(board=6006)
    before = ports_of(room)[0].port
    room.machines[ONE].taken = frozenset({before})
    room.report(ONE)
    assert rounds_until_ready(room, most=12) <= 10
    assert ports_of(room)[0].port != before


def test_an_event_file_that_names_other_ports_gives_bound_workspaces_theirs_and_moves_none_that_stays() -> None:
    room = with_ports(board=6006, dash=8787)
    (_, seat), before = room.fleet.world.seat_of(ADA) or pytest.fail("no seat"), ports_of(room)
    identity, port = seat.workspaces[INTRO].id, seat.workspaces[INTRO].port
    changed = project(ports={PortName("new"): 9, DASH: 8787}, ports_with_prefix=(DASH,))
    room.do(EventSpecApplied(event_spec(changed, attendees=2)))
    room.settle()
    assert (seat.workspaces[INTRO].id, seat.workspaces[INTRO].port) == (identity, port)
    named = {each.name: each for each in ports_of(room)}
    assert named.keys() == {DASH, "new"}
    assert named[DASH] == RoutePort(DASH, before[1].port, with_prefix=True)


def test_only_how_a_port_is_asked_is_no_reason_to_replace_free_workspaces() -> None:
    room = with_ports(dash=8787)
    before = set(room.fleet.world.ships[ONE].workspaces)
    room.do(EventSpecApplied(event_spec(project(ports={DASH: 8787}, ports_with_prefix=(DASH,)), attendees=2)))
    room.settle()
    assert set(room.fleet.world.ships[ONE].workspaces) == before
    assert ports_of(room)[0].with_prefix


def test_a_restarted_mux_knows_the_ports_and_what_is_shared() -> None:
    room = with_ports(board=6006)
    before = {each.id: (dict(each.ports), each.shared) for each in room.fleet.world.ships[ONE].workspaces.values()}
    room.restart()
    room.settle()
    after = {each.id: (dict(each.ports), each.shared) for each in room.fleet.world.ships[ONE].workspaces.values()}
    assert after == before


def test_workspaces_of_one_attendee_share_by_one_name_and_the_next_attendee_by_another() -> None:
    lazy = project("lazy", start="on_use", shared=("data",))
    room = Room(event_spec(project(shared=("data",)), lazy, attendees=1, seats_per_ship=1))
    room.settle()
    seen = []
    for name in ("ada", "bob"):
        room.log_in(name)
        room.settle()
        room.do(ProjectRequested(UserId(name), lazy.name))
        room.settle()
        _, seat = room.fleet.world.seat_of(UserId(name)) or pytest.fail("no seat")
        assert len(seat.workspaces) == 2
        (shared,) = {workspace.shared for workspace in seat.workspaces.values()}
        seen.append(shared)
        room.do(LoggedOut(SessionHash(f"session of {name}")), SeatReleased(UserId(name)))
        rounds_until_ready(room, most=12)
    assert len(set(seen)) == 2
    assert "" not in seen
