"""A core that was restored decides as the one that went on would have, once it has heard the same."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mux.core.events import (
    DoorsSet,
    Event,
    EventSpecApplied,
    FleetCooled,
    FleetParked,
    FleetUnparked,
    FleetWarmed,
    LaunchingSet,
    LinkLost,
    LoggedOut,
    MachinesListed,
    ProjectRequested,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDrained,
    ShipReplaced,
    StartOverAsked,
)
from mux.core.model import Doors, LinkId, ProjectName, SessionHash, ShipId, UserId
from tests.core.room import Room, event_spec, project

PROJECTS = (project("intro"), project("lazy", start="on_use"), project("kept", has_secrets=True))
BIG, SMALL = event_spec(*PROJECTS, attendees=6), event_spec(PROJECTS[0], attendees=3)
USERS = st.sampled_from(["ada", "bob", "eve", "dan", "kim", "joe", "liv"]).map(UserId)
SHIPS = st.sampled_from([ShipId(f"ship-000{number}") for number in range(1, 5)])

happenings: st.SearchStrategy[Event | str] = st.one_of(
    st.sampled_from(["log in", "log in", "settle", "settle", "answer", "wait"]),
    USERS.map(lambda user: LoggedOut(SessionHash(f"session of {user}"))),
    st.builds(SeatReleased, USERS),
    st.builds(ProjectRequested, USERS, st.just(ProjectName("lazy"))),
    st.builds(StartOverAsked, USERS, st.sampled_from(["intro", "lazy"]).map(ProjectName), st.sampled_from(["", "a"])),
    st.builds(DoorsSet, st.sampled_from(Doors)),
    st.builds(ShipCordoned, SHIPS, st.booleans()),
    st.builds(ShipDrained, SHIPS, st.booleans()),
    st.builds(ShipDeclaredLost, SHIPS),
    st.builds(LaunchingSet, st.booleans()),
    st.just(FleetParked()),
    st.just(FleetUnparked()),
    st.builds(FleetWarmed, st.integers(0, 9), st.sampled_from([0.0, 1_900.0])),
    st.just(FleetCooled()),
    st.builds(ShipReplaced, SHIPS),
    st.sampled_from([EventSpecApplied(BIG), EventSpecApplied(SMALL)]),
)


def happen(room: Room, what: Event | str, user: UserId) -> None:
    if what == "log in":
        room.log_in(user)
    elif what == "settle":
        room.settle()
    elif what == "answer":
        room.answer()
    elif what == "wait":
        room.do(after=3)
    elif not isinstance(what, str):
        if isinstance(what, EventSpecApplied):
            room.spec = what.spec
        room.do(what)


def hear_everything(room: Room) -> None:
    """Both cores are told the same: what exists, and what every ship holds; and what they ask for is done."""
    for _ in range(4):
        room.do(MachinesListed({ship: known.machine for ship, known in room.machines.items()}, room.now))
        room.settle()
        for ship, known in list(room.machines.items()):
            if known.accepted:
                room.report(ship)
        room.do(after=1)


def what_is_so(room: Room) -> dict[str, object]:
    world = room.fleet.world
    totals = ("usable", "doubtful", "assigned", "ships", "unreachable", "launching", "booting", "parked", "costs")
    return {
        "seats": room.seats(),
        "states": room.states(),
        "routes": room.fleet.published(),
        "queue": [(entry.user, entry.turn) for entry in world.waiting.values()],
        "controls": world.controls,
        "offers": {ship.id: world.offers._offers.get(ship.id, 0) for ship in world.ships.values()},
        "totals": {name: getattr(world.tally, name) for name in totals},
        "conditions": {ship.id: list(ship.conditions()) for ship in world.ships.values() if not ship.gone},
        "workspaces": {
            ship.id: {w.id: (w.state, w.port, w.digest, w.healthy) for w in ship.workspaces.values()}
            for ship in world.ships.values()
            if not ship.gone
        },
        "epochs": world.epochs,
    }


@given(st.lists(st.tuples(happenings, USERS), max_size=25), st.lists(st.tuples(happenings, USERS), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_restored_core_decides_as_the_one_that_went_on(
    history: list[tuple[Event | str, UserId]], future: list[tuple[Event | str, UserId]]
) -> None:
    room = Room(BIG)
    room.settle()
    for what, user in history:
        happen(room, what, user)
    room.answer_all()  # a call that is in flight is asked again by a core that was restored
    restored = copy.deepcopy(room)
    restored.restart()
    for ship, known in room.machines.items():  # both lose every link
        held = room.fleet.world.ships.get(ship)
        room.do(LinkLost(ship, (held.link if held else None) or LinkId(0)))
        known.link, known.accepted = None, False
    for each in (room, restored):
        hear_everything(each)
    assert what_is_so(restored) == what_is_so(room)
    for what, user in future:
        for each in (room, restored):
            happen(each, what, user)
    for each in (room, restored):
        hear_everything(each)
    assert what_is_so(restored) == what_is_so(room)
