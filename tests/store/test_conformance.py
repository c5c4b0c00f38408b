"""What every backend of the store does, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.core.commands import (
    Behind,
    ForgetAssignment,
    ForgetRollout,
    ForgetSession,
    ForgetWaiting,
    Persist,
    SaveAssignment,
    SaveBehind,
    SaveControls,
    SaveRollout,
    SaveSession,
    SaveShip,
    SaveSpend,
    SaveWaiting,
    SaveWishes,
    ShipRecord,
)
from mux.core.model import Assignment, Doors, ProjectName, Role, SessionHash, ShipId, UserId, Waiting
from mux.core.rollout import Rollout, RolloutState
from mux.core.spend import Meter
from mux.store.base import ApiToken, ConflictError, OrganizerSession, Records, StoreError
from mux.store.sql import TERMINATED_KEPT_S, SqlStore, sqlite_url
from tests.store.conftest import Backend
from tests.store.samples import ROLLOUT, SHIP, assignment, person, session, terminated
from tests.store.strategies import commands

_V = TypeVar("_V")

CONTROLS = SaveControls(
    doors=Doors.OPEN,
    doors_opened=True,
    launching=False,
    ships_made=4,
    turns=9,
    paused=True,
    parked=True,
    target_seats=0,
    target_at=1.5,
    target_by=2.5,
    begun_for=2.5,
    begun_at=1.75,
    boot_s=61.5,
    spend_allowed=0.1,
    broadcast="Lunch is ready.\nÜber uns <b>",
    broadcast_at=98.25,
)
METER = Meter(spent=12.345, ship_seconds=3600.5, ships=2, rate_micros=800_000, at=99.5)
WISHES = {ProjectName("intro"): "", ProjectName("lazy"): "a%20b/c.ipynb"}
AGES = {ProjectName("intro"): Behind(12.5, 0.0, 98.75), ProjectName("lazy"): Behind(0.0, 61.25, 99.5)}


# --- the core's records ---------------------------------------------------------------------------------------------


async def test_a_new_store_is_empty(store: SqlStore) -> None:
    assert await store.load(0.0) == Records()
    assert await store.applied() is None
    assert await store.secrets() == {}
    assert await store.digests() == {}
    assert await store.users() == []
    assert await store.tokens() == []


async def test_a_batch_comes_back_as_it_was_saved_after_a_restart(backend: Backend) -> None:
    first = await backend.store()
    waiting = Waiting(UserId("cyd"), turn=3, since=12.5)
    await first.commit(
        [
            SaveShip(SHIP),
            assignment("ada", 0, epoch=2),
            SaveSession(session("s1")),
            SaveWaiting(waiting),
            CONTROLS,
            SaveSpend(METER),
            SaveRollout(ROLLOUT),
            SaveWishes(UserId("cyd"), WISHES),
            SaveBehind(UserId("ada"), AGES),
        ]
    )
    await first.close()
    second = await backend.store()
    assert await second.load(50.0) == Records(
        ships=(SHIP,),
        assignments=(Assignment(UserId("ada"), ShipId("ship-0001"), 0, 2),),
        epochs={UserId("ada"): 2},
        sessions=(session("s1"),),
        waiting=(waiting,),
        controls=CONTROLS,
        meter=METER,
        rollouts=(ROLLOUT,),
        wishes={UserId("cyd"): WISHES},
        behind={UserId("ada"): AGES},
    )


async def test_a_later_record_replaces_an_earlier_one(store: SqlStore) -> None:
    await store.commit([SaveShip(SHIP), assignment("ada", 0), CONTROLS])
    moved = replace(SHIP, generation=8, failed="disk\x00full ✗", workspaces=())
    later = replace(CONTROLS, doors=Doors.CLOSED, turns=10, target_seats=None, spend_allowed=12.5, paused=False)
    spent = METER.turned(200.0, ships=3, rate_micros=1_200_000)
    await store.commit([SaveShip(moved), assignment("ada", 1, epoch=2), later, SaveSpend(spent)])
    records = await store.load(0.0)
    assert records.ships == (moved,)
    assert records.assignments == (Assignment(UserId("ada"), ShipId("ship-0001"), 1, 2),)
    assert records.controls == later
    assert records.meter == spent


async def test_a_rollout_is_replaced_and_forgotten(store: SqlStore) -> None:
    await store.commit([SaveRollout(ROLLOUT)])
    later = replace(ROLLOUT, number=4, state=RolloutState.DONE, wave=())
    await store.commit([SaveRollout(later), SaveRollout(replace(ROLLOUT, project=ProjectName("b")))])
    assert [each.number for each in (await store.load(0.0)).rollouts] == [3, 4]
    await store.commit([ForgetRollout(ProjectName("b"))])
    assert (await store.load(0.0)).rollouts == (later,)


async def test_wishes_are_replaced_and_forgotten(store: SqlStore) -> None:
    await store.commit([SaveWishes(UserId("ada"), WISHES), SaveWishes(UserId("bob"), WISHES)])
    fewer = {ProjectName("b"): "Übung%20\x00.ipynb"}
    await store.commit([SaveWishes(UserId("ada"), fewer), SaveWishes(UserId("bob"), {})])
    assert (await store.load(0.0)).wishes == {UserId("ada"): fewer}


async def test_ages_of_files_are_replaced_and_forgotten(store: SqlStore) -> None:
    await store.commit([SaveBehind(UserId("ada"), AGES), SaveBehind(UserId("bob"), AGES)])
    later = {ProjectName("intro"): Behind(0.25, 3.5, 1e9)}
    await store.commit([SaveBehind(UserId("ada"), later), SaveBehind(UserId("bob"), {})])
    assert (await store.load(0.0)).behind == {UserId("ada"): later}


async def test_a_seat_cannot_have_two_attendees_and_nothing_of_the_batch_is_kept(store: SqlStore) -> None:
    await store.commit([assignment("ada", 0)])
    with pytest.raises(ConflictError) as refused:
        await store.commit([SaveShip(SHIP), SaveSession(session("s1", "bob")), assignment("bob", 0)])
    assert refused.value.key == "ship-0001/0"
    assert not refused.value.retryable
    records = await store.load(0.0)
    assert records.ships == () and records.sessions == ()
    assert [kept.user for kept in records.assignments] == ["ada"]
    assert records.epochs == {"ada": 1}


async def test_a_seat_given_twice_in_one_batch_is_refused(store: SqlStore) -> None:
    with pytest.raises(ConflictError) as refused:
        await store.commit([assignment("ada", 1), assignment("bob", 1)])
    assert refused.value.key == "ship-0001/1"


async def test_a_seat_can_pass_on_and_two_attendees_can_change_seats_in_one_batch(store: SqlStore) -> None:
    await store.commit([assignment("ada", 0), assignment("bob", 1)])
    await store.commit([assignment("ada", 1, 2), assignment("bob", 0, 2)])
    await store.commit([ForgetAssignment(UserId("ada")), assignment("cyd", 1)])
    seats = {kept.user: kept.seat for kept in (await store.load(0.0)).assignments}
    assert seats == {"bob": 0, "cyd": 1}


async def test_the_same_seat_number_on_two_ships_is_two_seats(store: SqlStore) -> None:
    await store.commit([assignment("ada", 0, ship="ship-0001"), assignment("bob", 0, ship="ship-0002")])
    assert len((await store.load(0.0)).assignments) == 2


async def test_an_epoch_outlives_its_assignment_and_never_falls(store: SqlStore) -> None:
    await store.commit([assignment("ada", 0, epoch=5)])
    await store.commit([ForgetAssignment(UserId("ada"))])
    await store.commit([assignment("bob", 0, epoch=3), ForgetAssignment(UserId("bob"))])
    await store.commit([assignment("ada", 0, epoch=4)])
    records = await store.load(0.0)
    assert records.epochs == {"ada": 5, "bob": 3}


async def test_expired_sessions_are_left_out(store: SqlStore) -> None:
    await store.commit([SaveSession(session("old", expires_at=10.0)), SaveSession(session("new", expires_at=10.5))])
    assert [kept.hash for kept in (await store.load(10.0)).sessions] == ["new"]


async def test_a_forgotten_session_is_gone_and_its_owner_was_seen(store: SqlStore) -> None:
    await store.commit([SaveSession(session("s1", "ada")), SaveSession(session("s2", "bob"))])
    await store.commit([ForgetSession(SessionHash("s1")), ForgetSession(SessionHash("never was"))])
    assert [kept.hash for kept in (await store.load(0.0)).sessions] == ["s2"]
    assert await store.seen_users() == {"ada", "bob"}


async def test_the_queue_comes_back_in_order(store: SqlStore) -> None:
    turns = {"ada": 7, "bob": 2, "cyd": 5}
    await store.commit([SaveWaiting(Waiting(UserId(user), turn, 0.5)) for user, turn in turns.items()])
    await store.commit([ForgetWaiting(UserId("cyd"))])
    assert [entry.user for entry in (await store.load(0.0)).waiting] == ["bob", "ada"]


async def test_terminated_ships_are_kept_for_a_day_from_when_they_ended(backend: Backend) -> None:
    now = 1000.0
    store = await backend.store(lambda: now)
    gone = terminated(SHIP)
    await store.commit([SaveShip(SHIP), SaveShip(replace(SHIP, id=ShipId("ship-0002")))])
    await store.commit([SaveShip(gone)])
    now += TERMINATED_KEPT_S / 2
    await store.commit([SaveShip(gone)])
    assert [ship.id for ship in (await store.load(now)).ships] == ["ship-0001", "ship-0002"]
    now += TERMINATED_KEPT_S / 2
    assert [ship.id for ship in (await store.load(now)).ships] == ["ship-0002"]
    again = await backend.store(lambda: now)
    assert [ship.id for ship in (await again.load(0.0)).ships] == ["ship-0002"]


async def test_an_empty_batch_is_fine(store: SqlStore) -> None:
    await store.commit([])


def _replace(of: dict[UserId, Mapping[ProjectName, _V]], user: UserId, value: Mapping[ProjectName, _V]) -> None:
    of.pop(user, None)
    if value:
        of[user] = value


def _take_rollout(rollouts: dict[str, Rollout], command: Persist) -> None:
    match command:
        case SaveRollout(rollout):
            rollouts[rollout.project] = rollout
        case ForgetRollout(project):
            rollouts.pop(project, None)


def _carried_out(batches: list[list[Persist]]) -> Records:  # noqa: PLR0912 - one branch per command
    """What the protocol says that batches leave: each in order, or not at all when a seat is doubled at its end."""
    ships: dict[str, ShipRecord] = {}
    state: tuple[dict[str, object], ...] = ({}, {}, {}, {})
    controls: SaveControls | None = None
    meter: Meter | None = None
    rollouts: dict[str, Rollout] = {}
    wishes: dict[UserId, Mapping[ProjectName, str]] = {}
    behind: dict[UserId, Mapping[ProjectName, Behind]] = {}
    for batch in batches:
        seats, epochs, sessions, queue = (dict(part) for part in state)
        new_ships, new_controls, new_meter, new_rollouts = dict(ships), controls, meter, dict(rollouts)
        new_wishes, new_behind = dict(wishes), dict(behind)
        for command in batch:
            match command:
                case SaveShip(ship):
                    new_ships[ship.id] = ship
                case SaveAssignment(given):
                    seats[given.user] = given
                    epochs[given.user] = max(given.epoch, epochs.get(given.user, 0))  # type: ignore[call-overload]
                case ForgetAssignment(user):
                    seats.pop(user, None)
                case SaveSession(saved):
                    sessions[saved.hash] = saved
                case ForgetSession(hash_):
                    sessions.pop(hash_, None)
                case SaveWaiting(entry):
                    queue[entry.user] = entry
                case ForgetWaiting(user):
                    queue.pop(user, None)
                case SaveControls():
                    new_controls = command
                case SaveSpend(saved_meter):
                    new_meter = saved_meter
                case SaveWishes():
                    _replace(new_wishes, command.user, command.paths)
                case SaveBehind():
                    _replace(new_behind, command.user, command.ages)
                case _:
                    _take_rollout(new_rollouts, command)
        places = [(given.ship, given.seat) for given in seats.values()]  # type: ignore[attr-defined]
        if len(places) == len(set(places)):
            state, ships, controls, meter = (seats, epochs, sessions, queue), new_ships, new_controls, new_meter
            rollouts, wishes, behind = new_rollouts, new_wishes, new_behind
    seats, epochs, sessions, queue = state
    return Records(
        ships=tuple(ships[ship] for ship in sorted(ships)),
        assignments=tuple(seats[user] for user in sorted(seats)),  # type: ignore[misc]
        epochs=epochs,  # type: ignore[arg-type]
        sessions=tuple(sessions[key] for key in sorted(sessions)),  # type: ignore[misc]
        waiting=tuple(queue.values()),  # type: ignore[arg-type]
        controls=controls,
        meter=meter,
        rollouts=tuple(rollouts[project] for project in sorted(rollouts)),
        wishes=wishes,
        behind=behind,
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(commands, max_size=12), min_size=1, max_size=4))
def test_any_batches_leave_what_carrying_them_out_in_order_would(batches: list[list[Persist]]) -> None:
    async def run(directory: str) -> Records:
        store = SqlStore(sqlite_url(Path(directory) / "mux.db"), clock=lambda: 0.0)
        await store.open()
        try:
            for batch in batches:
                try:
                    await store.commit(batch)
                except ConflictError as error:
                    assert error.key
            return await store.load(-1.0)
        finally:
            await store.close()

    with TemporaryDirectory() as directory:
        found = asyncio.run(run(directory))
    expected = _carried_out(batches)
    queue = tuple(sorted(expected.waiting, key=lambda entry: (entry.turn, entry.user)))
    assert replace(found, waiting=tuple(sorted(found.waiting, key=lambda entry: (entry.turn, entry.user)))) == replace(
        expected, waiting=queue
    )


# --- the event file -------------------------------------------------------------------------------------------------


async def test_the_applied_file_and_its_secrets_come_back_exactly(store: SqlStore) -> None:
    secrets = {ProjectName("intro"): {"*": {"A": "ünï"}, "ada": {"B": "", "C": "'; --"}}, ProjectName("empty"): {}}
    await store.save_applied("name = 'first'", {}, {ProjectName("old"): "sha256:0"})
    await store.save_applied("name = 'ünï'\r\n", secrets, {ProjectName("intro"): "sha256:1"})
    assert await store.digests() == {"intro": "sha256:1"}
    assert await store.applied() == "name = 'ünï'\r\n"
    assert await store.secrets() == secrets


# --- the roster -----------------------------------------------------------------------------------------------------


async def test_users_come_back_as_saved_and_by_name(store: SqlStore) -> None:
    bob = person("2", "bob", "bob@example.org")
    ada = replace(person("1", "Ada"), role=Role.ORGANIZER, credential_kind="password", self_registered=True)
    await store.save_users([bob, ada])
    assert await store.users() == [ada, bob]
    assert await store.user(UserId("1")) == ada
    assert await store.user(UserId("3")) is None
    assert await store.count_users() == 2
    assert await store.count_users(self_registered=True) == 1
    assert await store.count_users(self_registered=False) == 1


@pytest.mark.parametrize(
    "login", ["Ada Lovelace", "ADA  lovelace ", "ada@example.org", "Ada@Example.ORG", "ada love\u200blace"]
)
async def test_a_user_is_found_by_folded_name_or_address(store: SqlStore, login: str) -> None:
    ada = person("1", "Ada Lovelace", "ada@example.org")
    await store.save_users([ada, person("2", "Bob")])
    assert await store.find_user(login) == ada


async def test_nobody_is_found_by_what_nobody_has(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada")])
    for login in ["", " ", "Bob", "ada@example.org", "a' OR '1'='1", "Ada%", "Ada\x00", "\ud800"]:
        assert await store.find_user(login) is None


@pytest.mark.parametrize(
    ("name", "email", "taken"),
    [
        ("ＡＤＡ", "", "ＡＤＡ"),
        ("other", "ADA@example.org", "ADA@example.org"),
        ("ada@example.org", "", "ada@example.org"),
        ("other", "ada", "ada"),
    ],
)
async def test_a_name_or_address_is_one_persons_whatever_its_spelling(
    store: SqlStore, name: str, email: str, taken: str
) -> None:
    await store.save_users([person("1", "Ada", "ada@example.org")])
    with pytest.raises(ConflictError) as refused:
        await store.save_users([person("3", "fine"), person("2", name, email)])
    assert refused.value.key == taken
    assert await store.count_users() == 1


async def test_two_entries_of_one_save_cannot_share_a_name(store: SqlStore) -> None:
    with pytest.raises(ConflictError) as refused:
        await store.save_users([person("1", "Ada"), person("2", "ADA")])
    assert refused.value.key == "ADA"


async def test_an_entry_may_be_renamed_and_frees_its_old_name(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada"), person("2", "Bob")])
    await store.save_users([person("1", "Bob"), person("2", "Ada")])
    await store.save_users([person("1", "Cyd")])
    await store.save_users([person("3", "bob")])
    assert [user.name for user in await store.users()] == ["Ada", "bob", "Cyd"]


async def test_a_code_belongs_to_one_entry_and_is_found(store: SqlStore) -> None:
    ada = person("1", "Ada", credential="c1")
    await store.save_users([ada])
    with pytest.raises(ConflictError) as refused:
        await store.save_users([person("2", "Bob", credential="c1")])
    assert refused.value.key == "code"
    assert await store.find_credential("c1") == ada
    assert await store.find_credential("c2") is None


async def test_a_password_hash_is_not_found_as_a_code_and_may_be_anybodys(store: SqlStore) -> None:
    users = [replace(person(name, name), credential_kind="password", credential="h") for name in ("ada", "bob")]
    await store.save_users(users)
    assert await store.find_credential("h") is None


async def test_removed_users_are_gone_and_their_names_are_free(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada"), person("2", "Bob")])
    await store.remove_users([UserId("1"), UserId("unknown")])
    assert await store.find_user("Ada") is None
    await store.save_users([person("3", "ada")])


async def test_when_everybody_is_removed_only_everybodys_secrets_stay(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada"), person("2", "Bob")])
    await store.save_organizer_session(OrganizerSession(SessionHash("a"), UserId("1"), 100.0))
    intro = ProjectName("intro")
    secrets = {intro: {"*": {"KEY": "shared"}, "ada": {"KEY": "hers"}}}
    await store.save_applied("text", secrets, {intro: "sha256:1"})
    assert sorted(await store.remove_everybody()) == ["1", "2"]
    assert await store.users() == []
    assert await store.find_user("Ada") is None
    assert await store.organizer_session(SessionHash("a"), 0.0) is None
    assert await store.secrets() == {intro: {"*": {"KEY": "shared"}}}
    assert (await store.applied(), await store.digests()) == ("text", {intro: "sha256:1"})
    assert await store.remove_everybody() == []
    await store.save_users([person("3", "ada")])


async def test_a_credential_is_swapped_only_if_nobody_changed_it(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada", credential="old")])
    assert await store.swap_credential(UserId("1"), "old", "new")
    assert not await store.swap_credential(UserId("1"), "old", "newer")
    ada = await store.user(UserId("1"))
    assert ada is not None and ada.credential == "new"


async def test_a_roster_larger_than_any_statement_is_saved_whole_or_not(store: SqlStore) -> None:
    many = [person(str(n), f"person {n}", f"p{n}@example.org") for n in range(1500)]
    await store.save_users([person("x", "PERSON 1400")])
    with pytest.raises(ConflictError):
        await store.save_users(many)
    assert await store.count_users() == 1
    await store.remove_users([UserId("x")])
    await store.save_users(many)
    assert await store.count_users() == 1500


# --- organizers' sessions and tokens --------------------------------------------------------------------------------


async def test_an_organizers_session_ends_with_its_time_its_owner_or_by_hand(store: SqlStore) -> None:
    ada, bob = person("1", "Ada"), person("2", "Bob")
    await store.save_users([ada, bob])
    kept = [OrganizerSession(SessionHash(name), UserId(user), 100.0) for name, user in (("a", "1"), ("b", "2"))]
    for each in kept:
        await store.save_organizer_session(each)
    assert await store.organizer_session(SessionHash("a"), 99.0) == (kept[0], ada)
    assert await store.organizer_session(SessionHash("a"), 100.0) is None
    assert await store.organizer_session(SessionHash("c"), 0.0) is None
    await store.remove_users([ada.id])
    assert await store.organizer_session(SessionHash("a"), 0.0) is None
    await store.remove_organizer_sessions(session=SessionHash("b"))
    assert await store.organizer_session(SessionHash("b"), 0.0) is None


async def test_all_of_ones_sessions_or_the_expired_ones_are_removed_together(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada"), person("2", "Bob")])
    for name, user, end in (("a1", "1", 50.0), ("a2", "1", 150.0), ("b1", "2", 50.0), ("b2", "2", 150.0)):
        await store.save_organizer_session(OrganizerSession(SessionHash(name), UserId(user), end))

    async def alive() -> list[str]:
        return [n for n in ("a1", "a2", "b1", "b2") if await store.organizer_session(SessionHash(n), 0.0) is not None]

    await store.remove_organizer_sessions(expired_at=100.0)
    assert await alive() == ["a2", "b2"]
    await store.remove_organizer_sessions(user=UserId("2"))
    assert await alive() == ["a2"]
    await store.remove_organizer_sessions()
    assert await alive() == ["a2"]


async def test_saving_an_organizer_again_keeps_the_session_and_shows_the_new_role(store: SqlStore) -> None:
    ada = replace(person("1", "Ada"), role=Role.ORGANIZER)
    await store.save_users([ada])
    await store.save_organizer_session(OrganizerSession(SessionHash("a"), ada.id, 100.0))
    demoted = replace(ada, role=Role.ATTENDEE)
    await store.save_users([demoted])
    found = await store.organizer_session(SessionHash("a"), 0.0)
    assert found is not None and found[1] == demoted


async def test_a_session_of_nobody_is_refused(store: SqlStore) -> None:
    with pytest.raises(ConflictError):
        await store.save_organizer_session(OrganizerSession(SessionHash("a"), UserId("nobody"), 100.0))


async def test_tokens_come_back_by_name_and_names_are_unique(store: SqlStore) -> None:
    tokens = [ApiToken(name, f"hash {name}", ("read", "fleet"), 5.5) for name in ("b", "a")]
    for token in tokens:
        await store.save_token(token)
    assert await store.tokens() == [tokens[1], tokens[0]]
    with pytest.raises(ConflictError) as refused:
        await store.save_token(ApiToken("a", "another hash", ("read",), 6.0))
    assert refused.value.key == "a"
    assert await store.remove_token("a")
    assert not await store.remove_token("a")


# --- many at once ---------------------------------------------------------------------------------------------------


async def test_of_many_attendees_who_want_the_same_seats_in_two_programs_each_seat_gets_one(backend: Backend) -> None:
    stores = [await backend.store(), await backend.store()]

    async def claim(number: int) -> bool:
        try:
            await stores[number % 2].commit([assignment(f"user-{number}", number // 2 % 30)])
        except ConflictError:
            return False
        return True

    won = await asyncio.gather(*(claim(number) for number in range(120)))
    records = await stores[0].load(0.0)
    assert sum(won) == len(records.assignments) == 30
    assert {kept.seat for kept in records.assignments} == set(range(30))
    assert {kept.user for kept in records.assignments} == {f"user-{n}" for n, ok in enumerate(won) if ok}


async def test_of_two_programs_that_save_one_name_at_once_one_wins(backend: Backend) -> None:
    stores = [await backend.store(), await backend.store()]
    for round_ in range(10):
        people = [person(f"{round_}-{n}", f"Name {round_}" if n else f"NAME  {round_}") for n in range(2)]
        saves = [store.save_users([each]) for store, each in zip(stores, people, strict=True)]
        results = await asyncio.gather(*saves, return_exceptions=True)
        assert [type(result) for result in results if result is not None] == [ConflictError]
        found = await stores[0].find_user(f"name {round_}")
        assert found in people


async def test_programs_that_open_a_new_database_at_once_all_find_it_ready(backend: Backend) -> None:
    stores = await asyncio.gather(*(backend.store() for _ in range(4)))
    await stores[0].commit([CONTROLS])
    assert [(await store.load(0.0)).controls for store in stores] == [CONTROLS] * 4


async def test_reads_see_whole_batches_only(backend: Backend) -> None:
    writer, reader = await backend.store(), await backend.store()
    done = asyncio.Event()

    async def write() -> None:
        for epoch in range(1, 60):
            await writer.commit([assignment("ada", 0, epoch), replace(CONTROLS, turns=epoch)])
        done.set()

    async def read() -> None:
        while not done.is_set():
            records = await reader.load(0.0)
            if records.controls is not None:
                assert records.assignments[0].epoch == records.controls.turns == records.epochs[UserId("ada")]

    await asyncio.gather(write(), read(), read())


async def test_a_cancelled_commit_is_carried_out_and_the_store_goes_on(store: SqlStore) -> None:
    for number in range(20):
        task = asyncio.create_task(store.commit([assignment(f"user-{number}", number)]))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.commit([CONTROLS])
    records = await store.load(0.0)
    # The first one was cancelled before it began; those that began are there.
    assert {kept.user for kept in records.assignments} >= {f"user-{number}" for number in range(1, 20)}


async def test_cancelled_reads_leave_the_store_working(store: SqlStore) -> None:
    await store.save_users([person("1", "Ada")])
    for turns in range(30):
        tasks = [asyncio.create_task(store.find_user("Ada")) for _ in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(found is not None for found in results[1::2])
        assert not any(isinstance(found, StoreError) for found in results)
    assert await store.find_user("Ada") is not None


async def test_what_has_begun_is_finished_by_close(backend: Backend) -> None:
    store = await backend.store()
    tasks = [asyncio.create_task(store.commit([assignment(f"user-{n}", n)])) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    assert len((await (await backend.store()).load(0.0)).assignments) == 20


async def test_a_closed_store_says_so(store: SqlStore) -> None:
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.load(0.0)
    with pytest.raises(StoreError, match="not open"):
        await store.commit([CONTROLS])


async def test_what_no_database_can_hold_is_refused_as_such(store: SqlStore) -> None:
    for user in (person("1", "\ud800"), replace(person("1", "Ada"), credential="\udfff")):
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.save_users([user])
    with pytest.raises(StoreError, match="cannot be stored"):
        await store.commit([assignment("ada", 2**63)])
    assert await store.users() == []
    assert (await store.load(0.0)).assignments == ()
