"""What each endpoint does: the events that follow, what is in the store, what the answer says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mux.core.commands import SaveSession
from mux.core.events import (
    BroadcastSet,
    DoorsSet,
    Event,
    FilesChanged,
    FleetParked,
    FleetUnparked,
    LaunchingSet,
    ProjectPushed,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDrained,
    ShipReleased,
    UserRevoked,
    WishesWithdrawn,
)
from mux.core.model import Doors, ProjectName, Resources, Role, Session, SessionHash, UserId
from mux.core.rollout import Pace
from mux.engine import EngineBusyError
from mux.store.base import OrganizerSession, StoreUnavailableError
from tests.admin.support import HOSTILE, NOW, SHIP, Admin, FakeApplier, room, ship_view


async def add(admin: Admin, name: str, **fields: str) -> dict[str, str]:
    """A new entry; what is known of it, with its id."""
    made = (await admin.local("POST", "/roster", {"name": name, **fields})).json["codes"][0]
    user = await admin.store.find_user(name)
    assert user is not None
    return {**made, "id": user.id}


# --- rollouts ---------------------------------------------------------------------------------------------------------


async def test_an_image_that_does_not_fit_a_ships_disk_is_refused_with_the_numbers(admin: Admin) -> None:
    full = replace(ship_view(), resources=Resources(disk_total_bytes=50 << 30, disk_free_bytes=3 << 30))
    admin.engine.room = room(full)
    refused = await admin.local("POST", "/rollouts/intro", {"image": "huge"})
    assert (refused.status, refused.json["error"]["code"]) == (409, "no_room")
    assert "4096.00 GiB are new to the ships" in refused.json["error"]["message"]
    assert "ship-0001 has 3.00 GiB left; free some space, or replace it" in refused.json["error"]["message"]
    assert admin.engine.events == []
    answer = await admin.local("POST", "/rollouts/intro", {"image": "huge", "ignore_room": True})
    assert answer.status == 200
    assert [type(event) for event in admin.engine.events] == [ProjectPushed]


@pytest.mark.parametrize(("free_gib", "status"), [(3, 409), (5, 200)])
async def test_a_directory_takes_as_much_of_a_ships_disk_as_its_files_have(
    admin: Admin, free_gib: int, status: int
) -> None:
    resources = Resources(disk_total_bytes=50 << 30, disk_free_bytes=free_gib << 30)
    admin.engine.room = room(replace(ship_view(), resources=resources))
    answer = await admin.local("POST", "/rollouts/intro", {"image": "directory"})
    assert answer.status == status
    if status == 409:
        message = answer.json["error"]["message"]
        assert "4.00 GiB are new to the ships, and ship-0001 has 3.00 GiB left" in message


@pytest.mark.parametrize("note", ["a\u202eb", "two\nlines"])
async def test_a_note_that_shows_as_something_else_is_refused(admin: Admin, note: str) -> None:
    refused = await admin.local("POST", "/rollouts/intro", {"image": "fix", "note": note})
    assert (refused.status, refused.json["error"]["code"]) == (422, "text_invalid")
    assert admin.engine.events == []


async def test_an_image_of_unknown_size_and_a_ship_that_says_nothing_of_its_disk_hinder_no_push(admin: Admin) -> None:
    admin.engine.room = room(ship_view())
    for image in ("huge", "fix"):
        assert (await admin.local("POST", "/rollouts/intro", {"image": image})).status == 200
    assert [type(event) for event in admin.engine.events] == [ProjectPushed, ProjectPushed]


@pytest.mark.parametrize("image", ["in\0tro", "in\ntro", "in\u202etro"])
async def test_a_name_of_an_image_that_shows_as_something_else_is_refused(admin: Admin, image: str) -> None:
    refused = await admin.local("POST", "/rollouts/intro", {"image": image})
    assert (refused.status, refused.json["error"]["code"]) == (422, "image_invalid")
    assert admin.engine.events == []


@pytest.mark.parametrize("at_once", ["0", "0%", "101%", "1.5", "-1", "99999", "5 %", "\u0665%", "1" * 9])
async def test_a_number_at_once_that_cannot_be_is_refused(admin: Admin, at_once: str) -> None:
    refused = await admin.local("POST", "/rollouts/intro", {"image": "fix", "max_unavailable": at_once})
    assert refused.status == 422
    assert admin.engine.events == []


async def test_the_plan_of_a_push_changes_nothing(admin: Admin) -> None:
    admin.engine.room = room(ship_view(user=UserId("u1")))
    plan = (await admin.local("POST", "/rollouts/intro/plan", {"image": "fix", "when": "at 10:30"})).json
    assert (plan["image"], plan["attendees"], plan["not_before_text"]) == ("/images/fix", 1, "2027-01-15 10:30 (UTC)")
    assert admin.engine.events == []


async def test_a_rollback_where_nothing_else_was_before_is_refused(admin: Admin) -> None:
    spec = admin.engine.projects()[0]
    admin.engine.fleet.handle(ProjectPushed(spec.name, spec.image, spec.digest, Pace()), now=NOW)
    refused = await admin.local("POST", "/rollouts/intro/steer", {"order": "rollback"})
    assert (refused.status, refused.json["error"]["code"]) == (409, "nothing_before")


# --- the room ---------------------------------------------------------------------------------------------------------


async def test_health_says_that_the_process_answers(admin: Admin) -> None:
    assert (await admin.remote("GET", "/healthz")).json == {"ok": True, "version": "0.0.1"}


async def test_status_shows_the_room_as_the_core_sees_it(admin: Admin) -> None:
    admin.engine.room = room(ship_view(user=UserId("u1")))
    found = (await admin.local("GET", "/status")).json
    assert found["now"] == NOW
    assert found["event"] == "my-workshop"
    assert (found["doors"], found["doors_open"]) == ("auto", True)
    assert found["ships_by_state"] == {"running": 1}
    assert found["projects_broken"] == {"deep": "exited 1"}
    assert found["opt_ins"] == {"deep": ["root", "CAP_SYS_PTRACE"]}
    assert found["notices"] == [{"at": NOW, "severity": "warning", "subject": "ship-0001", "text": "a notice"}]
    [ship] = found["ships"]
    assert (ship["id"], ship["state"], ship["conditions"]) == ("ship-0001", "running", ["cordoned"])
    assert ship["resources"]["memory_total_bytes"] == 1 << 33
    assert [seat["user"] for seat in ship["seats"]] == ["u1", None]
    assert ship["seats"][1]["failures"] == {"deep": "exited 1\nboom\x07"}


async def test_hostile_text_of_a_ship_stays_data(admin: Admin) -> None:
    answer = await admin.local("GET", "/status")
    assert answer.json["ships"][0]["phase"] == HOSTILE
    assert "\x1b" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/json"


async def test_notices_can_be_had_alone(admin: Admin) -> None:
    assert len((await admin.local("GET", "/notices")).json["notices"]) == 1


async def test_metrics_are_prometheus_text(admin: Admin) -> None:
    answer = await admin.local("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "mux_up 1\n" in answer.text


@pytest.mark.parametrize(
    ("path", "body", "event"),
    [
        ("/doors", {"doors": "open"}, DoorsSet(Doors.OPEN)),
        ("/doors", {"doors": "closed"}, DoorsSet(Doors.CLOSED)),
        ("/doors", {"doors": "auto"}, DoorsSet(Doors.AUTO)),
        ("/broadcast", {"text": " Lunch <b>now</b>\nin room 2 "}, BroadcastSet("Lunch <b>now</b>\nin room 2")),
        ("/broadcast", {"text": "10\u00a0min\r\n\U0001f469\u200d\U0001f4bb"}, BroadcastSet("10\u00a0min\n👩\u200d💻")),
        ("/broadcast", {"text": ""}, BroadcastSet("")),
        ("/fleet/park", None, FleetParked()),
        ("/fleet/unpark", None, FleetUnparked()),
        ("/fleet/pause", None, LaunchingSet(enabled=False)),
        ("/fleet/resume", None, LaunchingSet(enabled=True)),
        (f"/ships/{SHIP}/cordon", None, ShipCordoned(SHIP, cordoned=True)),
        (f"/ships/{SHIP}/uncordon", None, ShipCordoned(SHIP, cordoned=False)),
        (f"/ships/{SHIP}/drain", None, ShipDrained(SHIP, evict=False)),
        (f"/ships/{SHIP}/drain", {"evict": True}, ShipDrained(SHIP, evict=True)),
        (f"/ships/{SHIP}/lost", None, ShipDeclaredLost(SHIP)),
        (f"/ships/{SHIP}/release", None, ShipReleased(SHIP)),
        ("/projects/intro/changed", None, FilesChanged(ProjectName("intro"))),
    ],
)
async def test_a_write_becomes_one_event(admin: Admin, path: str, body: dict[str, object] | None, event: Event) -> None:
    answer = await admin.local("POST", path, body)
    assert answer.status == 200
    assert answer.json["text"]
    assert admin.engine.events == [event]


async def test_reaping_is_begun_and_looked_at(admin: Admin) -> None:
    begun = await admin.local("POST", "/fleet/reap", {"foreign": True})
    assert (begun.status, begun.json["running"]) == (200, True)
    state = (await admin.local("GET", "/fleet/reap")).json
    assert state == {"running": False, "machines": 3, "things": 1, "foreign": 2, "error": ""}


async def test_files_of_a_project_that_is_not_there_are_refused_with_those_that_are(admin: Admin) -> None:
    answer = await admin.local("POST", "/projects/outro/changed")
    assert (answer.status, answer.code) == (404, "no_project")
    assert admin.engine.events == []


@pytest.mark.parametrize("verb", ["cordon", "uncordon", "drain", "lost", "release"])
async def test_a_ship_that_nobody_knows_is_refused_with_the_nearest(admin: Admin, verb: str) -> None:
    answer = await admin.local("POST", f"/ships/ship-001/{verb}")
    assert (answer.status, answer.code) == (404, "ship_unknown")
    assert "did you mean ship-0001?" in answer.json["error"]["message"]
    assert admin.engine.events == []


async def test_an_engine_that_is_busy_is_503_with_a_time_to_come_back(admin: Admin) -> None:
    admin.engine.error = StoreUnavailableError("the disk is full")
    answer = await admin.local("POST", "/doors", {"doors": "open"})
    assert (answer.status, answer.code) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert answer.json["error"]["message"] == "the disk is full; try again"


async def test_who_asked_for_what_was_taken_in_is_not_told_to_ask_again(admin: Admin) -> None:
    admin.engine.error = EngineBusyError("the disk is full; this was taken in")
    answer = await admin.local("POST", "/doors", {"doors": "open"})
    assert (answer.status, answer.code) == (503, "busy")
    assert answer.json["error"]["message"] == "the disk is full; this was taken in"


async def test_a_defect_is_answered_without_its_text(admin: Admin) -> None:
    admin.engine.error = RuntimeError("secret detail")
    answer = await admin.local("POST", "/doors", {"doors": "open"})
    assert (answer.status, answer.code) == (500, "internal")
    assert "secret" not in answer.text


# --- seats ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["name", "email", "id"])
async def test_a_seat_is_released_by_name_address_or_id(admin: Admin, by: str) -> None:
    ada = await add(admin, "Ada Lovelace", email="ada@example.org")
    user = UserId(ada["id"])
    admin.engine.room = room(ship_view(user=user))
    answer = await admin.local("POST", "/seats/release", {"user": f" {ada[by].upper() if by != 'id' else ada[by]} "})
    assert answer.status == 200
    assert admin.engine.events == [SeatReleased(user)]


async def test_the_seat_of_somebody_who_left_the_roster_is_released_by_id(admin: Admin) -> None:
    admin.engine.room = room(ship_view(user=UserId("gone-user")))
    assert (await admin.local("POST", "/seats/release", {"user": "gone-user"})).status == 200
    assert admin.engine.events == [SeatReleased(UserId("gone-user"))]


async def test_a_seat_that_is_not_there_is_refused_and_says_why(admin: Admin) -> None:
    await add(admin, "Ada")
    assert (await admin.local("POST", "/seats/release", {"user": "Ada"})).code == "no_seat"
    assert (await admin.local("POST", "/seats/release", {"user": "Bob"})).code == "user_unknown"
    assert admin.engine.events == []


# --- the roster -------------------------------------------------------------------------------------------------------


async def test_an_import_counts_and_shows_new_codes_once(admin: Admin) -> None:
    csv = "name,email,role\nAda,ada@example.org,\nBob,,helper\n"
    first = (await admin.local("POST", "/roster/import", {"csv": csv})).json
    assert (first["created"], first["updated"], first["unchanged"]) == (2, 0, 0)
    assert [(one["name"], one["role"]) for one in first["codes"]] == [("Ada", "attendee"), ("Bob", "helper")]
    assert (first["event"], first["address"]) == ("my-workshop", "http://localhost:8000")
    second = (await admin.local("POST", "/roster/import", {"csv": csv})).json
    assert (second["created"], second["updated"], second["unchanged"], second["codes"]) == (0, 0, 2, [])
    listed = await admin.local("GET", "/roster")
    assert [user["name"] for user in listed.json["users"]] == ["Ada", "Bob"]
    for one in first["codes"]:
        assert one["code"] not in listed.text
    assert 'credential"' not in listed.text


async def test_an_import_that_changes_a_credential_ends_the_sessions(admin: Admin) -> None:
    ada = await add(admin, "Ada")
    csv = "name,password\nAda,a password of hers\n"
    assert (await admin.local("POST", "/roster/import", {"csv": csv})).json["updated"] == 1
    assert admin.engine.events == [UserRevoked(UserId(ada["id"]), release=False)]


async def test_a_wrong_roster_is_refused_with_every_fault_and_changes_nothing(admin: Admin) -> None:
    csv = "name,role\nAda,emperor\n,attendee\n"
    answer = await admin.local("POST", "/roster/import", {"csv": csv})
    assert answer.status == 422
    assert len(answer.json["error"]["detail"]) == 2
    assert answer.json["error"]["detail"][0].startswith("line 2: ")
    assert (await admin.local("GET", "/roster")).json["users"] == []


async def test_a_name_that_is_taken_is_409(admin: Admin) -> None:
    assert (await admin.local("POST", "/roster", {"name": "Ada"})).status == 201
    assert (await admin.local("POST", "/roster", {"name": "  ADA "})).status == 409


async def test_a_reset_gives_another_code_and_ends_every_session(admin: Admin) -> None:
    ada = await add(admin, "Ada", role="organizer")
    session = OrganizerSession(SessionHash("0" * 64), UserId(ada["id"]), NOW + 60)
    await admin.store.save_organizer_session(session)
    answer = await admin.local("POST", "/roster/ada/reset")
    assert answer.json["codes"][0]["code"] != ada["code"]
    assert admin.engine.events == [UserRevoked(UserId(ada["id"]), release=False)]
    assert await admin.store.organizer_session(session.hash, NOW) is None


@pytest.mark.parametrize("release", [False, True])
async def test_removing_somebody_ends_the_sessions_and_gives_the_seat_back_if_asked(
    admin: Admin, release: bool
) -> None:
    ada = await add(admin, "Ada Lovelace")
    answer = await admin.local("DELETE", "/roster/Ada%20Lovelace" + ("?release=true" if release else ""))
    assert answer.json == {"id": ada["id"], "name": "Ada Lovelace", "released": release}
    revoked = UserRevoked(UserId(ada["id"]), release=release)
    assert admin.engine.events == [revoked, revoked, WishesWithdrawn(UserId(ada["id"]))]
    assert (await admin.local("GET", "/roster")).json["users"] == []


async def test_when_sessions_cannot_be_ended_the_entry_stays(admin: Admin) -> None:
    await add(admin, "Ada")
    admin.engine.error = StoreUnavailableError("the disk is full")
    assert (await admin.local("DELETE", "/roster/Ada")).status == 503
    assert len((await admin.local("GET", "/roster")).json["users"]) == 1


@pytest.mark.parametrize(("method", "path"), [("POST", "/roster/nobody/reset"), ("DELETE", "/roster/nobody")])
async def test_somebody_unknown_is_404(admin: Admin, method: str, path: str) -> None:
    answer = await admin.local(method, path)
    assert answer.status == 404
    assert "nobody" in answer.json["error"]["message"]
    assert admin.engine.events == []


async def test_everybody_is_removed_and_all_sessions_end(admin: Admin) -> None:
    ada, olga = await add(admin, "Ada"), await add(admin, "Olga", role="organizer")
    session = OrganizerSession(SessionHash("0" * 64), UserId(olga["id"]), NOW + 60)
    await admin.store.save_organizer_session(session)
    admin.engine.room = replace(room(), seats_assigned=0)
    assert (await admin.local("DELETE", "/roster")).json == {"removed": 2}
    assert (await admin.local("GET", "/roster")).json["users"] == []
    assert await admin.store.organizer_session(session.hash, NOW) is None
    for user in (UserId(ada["id"]), UserId(olga["id"])):
        mine = [event for event in admin.engine.events if getattr(event, "user", "") == user]
        before, after = UserRevoked(user, release=False), UserRevoked(user, release=True)
        assert mine == [before, WishesWithdrawn(user), after, WishesWithdrawn(user)]
    assert (await admin.local("DELETE", "/roster")).json == {"removed": 0}


async def test_nobody_is_removed_with_the_others_while_somebody_has_a_seat(admin: Admin) -> None:
    ada = await add(admin, "Ada")
    admin.engine.room = replace(room(ship_view(user=UserId(ada["id"]))), seats_assigned=1)
    answer = await admin.local("DELETE", "/roster")
    assert (answer.status, answer.code) == (409, "has_seat")
    assert "somebody still has a seat" in answer.json["error"]["message"]
    assert admin.engine.events == []
    assert len((await admin.local("GET", "/roster")).json["users"]) == 1


async def test_a_path_without_a_name_removes_nobody(admin: Admin) -> None:
    await add(admin, "Ada")
    assert (await admin.local("DELETE", "/roster/")).status == 404
    assert len((await admin.local("GET", "/roster")).json["users"]) == 1


async def test_slips_are_made_again_only_for_who_has_never_come(admin: Admin) -> None:
    ada, bob = await add(admin, "Ada"), await add(admin, "Bob")
    await admin.store.commit([SaveSession(Session(SessionHash("1" * 64), UserId(ada["id"]), NOW + 60))])
    entered = {user["name"]: user["entered"] for user in (await admin.local("GET", "/roster")).json["users"]}
    assert entered == {"Ada": True, "Bob": False}
    [made] = (await admin.local("POST", "/roster/slips")).json["codes"]
    assert made["name"] == "Bob"
    assert made["code"] != bob["code"]
    assert UserRevoked(UserId(ada["id"]), release=False) not in admin.engine.events


async def test_roles_are_kept(admin: Admin) -> None:
    await add(admin, "Olga", role="organizer")
    user = await admin.store.find_user("olga")
    assert user is not None
    assert user.role is Role.ORGANIZER


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_is_shown_once_and_works(admin: Admin) -> None:
    made = await admin.local("POST", "/tokens", {"name": "grafana", "scopes": ["read", "read"]})
    assert made.status == 201
    token = made.json["token"]
    assert made.json["scopes"] == ["read"]
    listed = await admin.local("GET", "/tokens")
    assert listed.json["tokens"] == [{"name": "grafana", "scopes": ["read"], "created_at": NOW}]
    assert token not in listed.text
    assert (await admin.remote("GET", "/status", token=token)).status == 200


async def test_a_tokens_name_is_given_once(admin: Admin) -> None:
    assert (await admin.local("POST", "/tokens", {"name": "a", "scopes": ["read"]})).status == 201
    assert (await admin.local("POST", "/tokens", {"name": "a", "scopes": ["read"]})).status == 409


async def test_a_token_that_is_not_there_cannot_be_voided(admin: Admin) -> None:
    assert (await admin.local("DELETE", "/tokens/none")).code == "token_unknown"


# --- the event file ---------------------------------------------------------------------------------------------------


async def test_the_event_file_in_force_is_shown(admin: Admin) -> None:
    assert (await admin.local("GET", "/event")).json == {"text": None}
    await admin.store.save_applied("[event]\n", {}, {})
    assert (await admin.local("GET", "/event")).json == {"text": "[event]\n"}


async def test_a_plan_is_shown_and_then_applied(admin: Admin) -> None:
    applier = admin.deps.applier
    assert isinstance(applier, FakeApplier)
    secrets = {"intro": {"*": {"KEY": "s3cret"}}}
    plan = (await admin.local("POST", "/event/plan", {"text": "new", "secrets": secrets})).json
    assert plan["changes"] == [{"key": "fleet.attendees", "before": "4", "after": "8", "effect": "2 more"}]
    assert applier.applied == []
    body = {"text": "new", "secrets": secrets, "plan_id": plan["plan_id"]}
    done = await admin.local("POST", "/event/apply", body)
    assert done.json == {"changes": plan["changes"], "warnings": ["a warning"]}
    assert "s3cret" not in json.dumps(plan) + done.text
    assert applier.applied == [("new", secrets)]


async def test_a_wrong_event_file_is_422_with_every_fault(admin: Admin) -> None:
    answer = await admin.local("POST", "/event/plan", {"text": "wrong"})
    assert (answer.status, answer.code) == (422, "event_invalid")
    assert answer.json["error"]["detail"] == ["fleet.attendees: found 0", "two"]


async def test_a_stale_plan_is_409(admin: Admin) -> None:
    answer = await admin.local("POST", "/event/apply", {"text": "new", "plan_id": "1" * 64})
    assert (answer.status, answer.code) == (409, "plan_stale")


# --- the engine's room may be empty -----------------------------------------------------------------------------------


async def test_an_empty_room_can_be_shown(admin: Admin) -> None:
    admin.engine.room = replace(room(), notices=(), ships_by_state={}, projects_broken={})
    found = (await admin.local("GET", "/status")).json
    assert found["ships"] == []
    assert found["notices"] == []
