"""Properties: whatever happens, in whatever order, the invariants hold, and when trouble stops the room settles.

Hypothesis prints the smallest history that breaks a rule, with the seed to repeat it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mux.core.deadlines import Deadlines
from mux.core.errors import InvalidTransitionError
from mux.core.events import (
    DoorsSet,
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
    ShipDialed,
    ShipDrained,
    UserRevoked,
)
from mux.core.feed import Ack, Change, Counters, FeedMessage, FeedSettings, FrameDecoder, Paths, Snapshot, encode
from mux.core.lifecycles import SHIP_TRANSITIONS, WORKSPACE_TRANSITIONS, ship_lifecycle, workspace_lifecycle
from mux.core.model import (
    Doors,
    FleetSpec,
    LinkId,
    ProjectName,
    SessionHash,
    ShipId,
    ShipState,
    UserId,
    WorkspaceId,
    WorkspaceState,
)
from mux.core.planner import Contribution, LaunchPatience, Tally, plan
from mux.core.routes import Delta, Route, RouteTable, SessionEntry
from mux.core.scheduler import SeatIndex
from tests.core.room import Room, event_spec, project

USERS = ["ada", "bob", "eve", "dan", "kim"]
PROJECTS = [
    project("intro", ports={"board": 6006}),
    project("lazy", start="on_use", shared=("data",)),
    project("kept", has_secrets=True),
]


class AnyHistory(RuleBasedStateMachine):
    """Everything that can happen to a small room, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(event_spec(*PROJECTS, attendees=4, launch_failures_max=3, boot_deadline_s=60))

    def _some_ship(self, pick: int) -> ShipId | None:
        ships = sorted(self.room.fleet.world.ships)
        return ships[pick % len(ships)] if ships else None

    @rule(user=st.sampled_from(USERS))
    def logs_in(self, user: str) -> None:
        self.room.log_in(user, expires_in=300)

    @rule(user=st.sampled_from(USERS))
    def logs_out(self, user: str) -> None:
        self.room.do(LoggedOut(SessionHash(f"session of {user}")))

    @rule(user=st.sampled_from(USERS), release=st.booleans())
    def is_revoked(self, user: str, release: bool) -> None:
        self.room.do(UserRevoked(UserId(user), release))

    @rule(user=st.sampled_from(USERS))
    def is_released(self, user: str) -> None:
        self.room.do(SeatReleased(UserId(user)))

    @rule(user=st.sampled_from(USERS), name=st.sampled_from(["intro", "lazy", "nothing"]))
    def asks_for_a_project(self, user: str, name: str) -> None:
        self.room.do(ProjectRequested(UserId(user), ProjectName(name)))

    @rule(doors=st.sampled_from(Doors))
    def doors_are_set(self, doors: Doors) -> None:
        self.room.do(DoorsSet(doors))

    @rule(fails=st.booleans())
    def effects_are_answered(self, fails: bool) -> None:
        self.room.launches_fail = fails
        self.room.answer()

    @rule()
    def effects_are_lost(self) -> None:
        self.room.restart()

    @rule(pick=st.integers(0, 9))
    def a_ship_dials(self, pick: int) -> None:
        machines = sorted(self.room.machines)
        if machines:
            self.room.dial(machines[pick % len(machines)])

    @rule(pick=st.integers(0, 9))
    def a_stranger_dials(self, pick: int) -> None:
        if ship := self._some_ship(pick):
            self.room.links += 1
            self.room.do(ShipDialed(ship, LinkId(self.room.links), "stranger", "boot", token_ok=False))

    @rule(pick=st.integers(0, 9), bad=st.booleans())
    def a_ship_reports(self, pick: int, bad: bool) -> None:
        machines = sorted(self.room.machines)
        if machines:
            ship = machines[pick % len(machines)]
            self.room.machines[ship].failing = frozenset({ProjectName("intro")}) if bad else frozenset()
            self.room.report(ship)

    @rule(pick=st.integers(0, 9))
    def a_link_is_lost(self, pick: int) -> None:
        machines = sorted(self.room.machines)
        if machines and (link := self.room.machines[machines[pick % len(machines)]].link):
            self.room.do(LinkLost(machines[pick % len(machines)], link))

    @rule(pick=st.integers(0, 9))
    def a_machine_reboots(self, pick: int) -> None:
        machines = sorted(self.room.machines)
        if machines:
            known = self.room.machines[machines[pick % len(machines)]]
            known.boot += 1
            known.running.clear()
            known.link, known.accepted = None, False

    @rule(pick=st.integers(0, 9))
    def a_machine_vanishes(self, pick: int) -> None:
        machines = sorted(self.room.machines)
        if machines:
            del self.room.machines[machines[pick % len(machines)]]

    @rule()
    def the_provider_lists(self) -> None:
        machines = {ship: known.machine for ship, known in self.room.machines.items()}
        self.room.do(MachinesListed(machines, self.room.now))

    @rule(pick=st.integers(0, 9), cordoned=st.booleans())
    def a_ship_is_cordoned(self, pick: int, cordoned: bool) -> None:
        if ship := self._some_ship(pick):
            self.room.do(ShipCordoned(ship, cordoned))

    @rule(pick=st.integers(0, 9), evict=st.booleans())
    def a_ship_is_drained(self, pick: int, evict: bool) -> None:
        if ship := self._some_ship(pick):
            self.room.do(ShipDrained(ship, evict))

    @rule(pick=st.integers(0, 9))
    def a_ship_is_declared_lost(self, pick: int) -> None:
        if ship := self._some_ship(pick):
            self.room.do(ShipDeclaredLost(ship))

    @rule(park=st.booleans())
    def the_fleet_is_parked_or_not(self, park: bool) -> None:
        self.room.do(FleetParked() if park else FleetUnparked())

    @rule(seats=st.integers(0, 9), in_s=st.sampled_from([0.0, 30.0, 2_000.0]))
    def the_fleet_is_warmed(self, seats: int, in_s: float) -> None:
        self.room.do(FleetWarmed(seats, self.room.now + in_s if in_s else 0.0))

    @rule()
    def the_fleet_is_cooled(self) -> None:
        self.room.do(FleetCooled())

    @rule(enabled=st.booleans())
    def launching_is_set(self, enabled: bool) -> None:
        self.room.do(LaunchingSet(enabled))

    @rule(attendees=st.integers(1, 8), digit=st.sampled_from("01"), few=st.booleans())
    def an_event_file_is_applied(self, attendees: int, digit: str, few: bool) -> None:
        changed = project("intro", digest="sha256:" + digit * 64)
        self.room.spec = event_spec(changed, *([] if few else PROJECTS[1:]), attendees=attendees)
        self.room.do(EventSpecApplied(self.room.spec))

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0, 120.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.room.do(after=seconds)

    @precondition(lambda self: len(self.room.machines) < 30)
    @rule()
    def a_restart_finds_what_was_published(self) -> None:
        before, seats = self.room.fleet.published(), self.room.seats()
        self.room.restart()
        assert self.room.fleet.published() == before
        assert self.room.seats() == seats

    @invariant()
    def everything_holds(self) -> None:
        self.room.fleet.validate()

    @invariant()
    def what_is_kept_is_what_is_so(self) -> None:
        world = self.room.fleet.world
        assert self.room.kept.assignments == world.assignments
        assert self.room.kept.sessions == world.sessions
        assert self.room.kept.waiting == world.waiting
        assert self.room.kept.wishes == world.wishes
        assert self.room.kept.behind == world.behind
        for ship in world.ships.values():
            assert self.room.kept.ships[ship.id] == ship.record()

    def teardown(self) -> None:
        """When trouble stops, everybody who is logged in and fits has a seat, and every route is there."""
        room = self.room
        room.launches_fail = False
        for known in room.machines.values():
            known.failing = frozenset()
        room.spec = event_spec(PROJECTS[0], attendees=6)
        room.do(
            EventSpecApplied(room.spec), FleetUnparked(), FleetWarmed(room.spec.fleet.seats_wanted),
            LaunchingSet(True), DoorsSet(Doors.OPEN),
            *(ShipCordoned(ship, False) for ship in list(room.fleet.world.ships)),
        )  # fmt: skip
        for _ in range(60):
            room.do(MachinesListed({ship: known.machine for ship, known in room.machines.items()}, room.now))
            room.settle()
            room.do(after=10)
            for ship in list(room.machines):
                room.report(ship)
        world = room.fleet.world
        assert not world.waiting, f"{list(world.waiting)} still wait: {room.states()}"
        assert {user for user, _ in room.routes()} == set(world.assignments)
        seats = sum(len(ship.seats) for ship in world.ships.values() if ship.healthy)
        assert world.offers.total == seats - len(world.assignments), "a free seat is not ready"
        assert set(room.machines) == set(room.states()), f"{room.machines.keys()} exist, {room.states()} are known"


AnyHistory.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyHistory = AnyHistory.TestCase


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 20)))), st.integers(0, 25))
def test_deadlines_are_a_map_from_which_what_is_due_is_taken_in_order(
    steps: list[tuple[str, int | None]], now: int
) -> None:
    deadlines: Deadlines[tuple[str, str]] = Deadlines()
    model: dict[tuple[str, str], float] = {}
    for name, at in steps:
        if at is None:
            deadlines.clear(("k", name))
            model.pop(("k", name), None)
        else:
            deadlines.set(("k", name), at)
            model[("k", name)] = at
        assert deadlines.next() == min(model.values(), default=None)
    due = deadlines.due(now)
    assert sorted(due) == sorted(key for key, at in model.items() if at <= now)
    assert [model[key] for key in due] == sorted(model[key] for key in due)
    assert deadlines.next() == min((at for at in model.values() if at > now), default=None)


@given(st.lists(st.sampled_from(ShipState), max_size=8))
def test_a_ship_moves_by_its_table_only(path: list[ShipState]) -> None:
    life = ship_lifecycle("ship")
    for after in path:
        before = life.state
        try:
            life.to(after)
        except InvalidTransitionError as error:
            assert after not in SHIP_TRANSITIONS[before]
            assert (before in str(error), after in str(error)) == (True, True)
            assert life.state == before
        else:
            assert after in SHIP_TRANSITIONS[before]


@given(st.lists(st.sampled_from(WorkspaceState), max_size=8))
def test_a_workspace_that_has_stopped_stays_stopped(path: list[WorkspaceState]) -> None:
    life = workspace_lifecycle("workspace")
    for after in path:
        before = life.state
        try:
            life.to(after)
        except InvalidTransitionError:
            assert after not in WORKSPACE_TRANSITIONS[before]
        assert before is not WorkspaceState.STOPPED or life.state is WorkspaceState.STOPPED


contributions = st.builds(
    Contribution,
    usable=st.integers(0, 8),
    assigned=st.integers(0, 8),
    ships=st.just(1),
    unreachable=st.integers(0, 1),
    launching=st.integers(0, 1),
)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), contributions), st.integers(1, 200), st.integers(1, 8)
)
def test_a_plan_never_launches_more_than_is_missing_and_never_both_launches_and_ends(
    ships: dict[str, Contribution], attendees: int, seats: int
) -> None:
    tally = Tally()
    for ship, contribution in ships.items():
        tally.set(ship, contribution)
    spec = FleetSpec(attendees, seats, launches_in_flight_max=10)
    decided = plan(tally, spec, enabled=True, backing_off=False)
    assert not (decided.launch and decided.end)
    assert decided.launch + tally.launching <= max(10, tally.launching)
    if decided.launch:
        assert tally.usable + (decided.launch - 1) * seats < attendees
    if decided.end:
        assert tally.usable - decided.end * seats >= attendees
    assert plan(tally, spec, enabled=False, backing_off=False).launch == 0
    assert plan(tally, spec, enabled=True, backing_off=True).launch == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), contributions)))
def test_a_tally_is_the_sum_of_the_last_contributions(steps: list[tuple[str, Contribution]]) -> None:
    tally = Tally()
    last: dict[str, Contribution] = {}
    for ship, contribution in steps:
        tally.set(ship, contribution)
        last[ship] = contribution
    assert tally.usable == sum(c.usable for c in last.values())
    assert tally.ships == len(last)


@given(st.integers(1, 12))
def test_patience_doubles_its_pauses_up_to_a_bound_and_ends(failures: int) -> None:
    spec = FleetSpec(1, 1, launch_failures_max=8, launch_backoff_s=2, launch_backoff_max_s=60)
    patience = LaunchPatience()
    pauses, given_up = [], []
    for _ in range(failures):
        given_up.append(patience.failed("not available", spec, now=100.0, made=True))
        pauses.append(patience.not_before - 100.0)
    assert pauses == [min(2.0 * 2**n, 60.0) for n in range(failures)]
    assert given_up == [n + 1 >= 8 for n in range(failures)]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 4))))
def test_the_fullest_ship_is_the_one_with_the_fewest_free_seats(steps: list[tuple[str, int]]) -> None:
    index = SeatIndex()
    free: dict[ShipId, int] = {}
    for ship, offers in steps:
        index.set(ShipId(ship), offers)
        free[ShipId(ship)] = offers
    with_room = {ship: n for ship, n in free.items() if n}
    assert index.total == sum(free.values())
    fullest = index.fullest()
    assert (fullest is None) == (not with_room)
    if fullest is not None:
        assert (with_room[fullest], fullest) == min((n, ship) for ship, n in with_room.items())


sessions = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=4).map(SessionHash),
    st.one_of(st.none(), st.builds(SessionEntry, st.sampled_from(USERS).map(UserId), st.floats(0, 1e9))),
)
routes = st.dictionaries(
    st.tuples(st.sampled_from(USERS).map(UserId), st.sampled_from(["intro", "lazy"]).map(ProjectName)),
    st.one_of(
        st.none(),
        st.builds(
            Route,
            st.text(min_size=1, max_size=8).map(WorkspaceId),
            st.text(max_size=8),
            st.integers(1, 65535),
            st.text(max_size=8),
        ),
    ),
)
deltas = st.builds(Delta, sessions, routes)
feed_settings = st.builds(
    FeedSettings,
    st.text(),
    st.text(),
    st.text(),
    st.lists(st.text(), max_size=3).map(lambda n: tuple(map(ProjectName, n))),
)
messages: st.SearchStrategy[FeedMessage] = st.one_of(
    st.builds(Snapshot, st.integers(0, 2**40), feed_settings, deltas.map(RouteTable().apply)),
    st.builds(Change, st.integers(0, 2**40), deltas, st.one_of(st.none(), feed_settings)),
    st.builds(Ack, st.integers(0, 2**40)),
    st.builds(Counters, st.dictionaries(st.text(), st.floats(0, 1e12))),
    st.builds(Paths, *2 * [st.lists(st.text().map(WorkspaceId), max_size=3).map(tuple)]),
)


@given(deltas, deltas)
def test_a_table_and_its_difference_give_the_other_table(first: Delta, second: Delta) -> None:
    old = RouteTable().apply(first)
    new = old.apply(second)
    assert old.apply(old.diff(new)) == new
    assert not new.diff(new)
    assert new.apply(second) == new


@given(st.lists(messages, max_size=4), st.lists(st.integers(1, 64), min_size=1))
@settings(deadline=None)
def test_the_feed_is_the_same_however_its_bytes_are_split(sent: list[FeedMessage], sizes: list[int]) -> None:
    data = b"".join(encode(message) for message in sent)
    decoder = FrameDecoder()
    received: list[FeedMessage] = []
    position, turn = 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        received += decoder.receive(data[position : position + size])
        position, turn = position + size, turn + 1
    assert received == sent


def test_a_session_that_has_expired_is_not_in_the_table() -> None:
    table = RouteTable({SessionHash("s"): SessionEntry(UserId("ada"), 10.0)}, {})
    assert table.session(SessionHash("s"), 9.9) is not None
    assert table.session(SessionHash("s"), 10.0) is None
