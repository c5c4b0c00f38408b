"""Putting event files in force, with the real parser and the real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mux.config import EventFile, starter_files
from mux.core.events import EventSpecApplied
from mux.core.model import ProjectName
from mux.store.base import StoreUnavailableError
from mux.store.sql import SqlStore
from mux.web.admin_api_deps import ApplyError, Plan, SecretValues
from mux.web.applying import EventApplier
from tests.admin.support import FakeEngine, open_store, room, ship_view

INTRO = ProjectName("intro")


class Event:
    """A directory with an event file, and an applier on it."""

    def __init__(self, base: Path, store: SqlStore) -> None:
        self.base = base
        self.store = store
        self.engine = FakeEngine()
        self.told: list[tuple[EventFile, SecretValues]] = []
        self.order: list[str] = []
        self.applier = EventApplier(self.engine, store, base=base, environ={}, applied=self._applied)
        for path, text in starter_files(name="my-workshop").items():
            (base / path).parent.mkdir(parents=True, exist_ok=True)
            (base / path).write_text(text)
        self.text = (base / "event.toml").read_text()

    async def _applied(self, file: EventFile, secrets: SecretValues) -> None:
        # The store has it already, the core does not yet.
        assert await self.store.applied() is not None
        assert not any(isinstance(event, EventSpecApplied) for event in self.engine.events[len(self.told) :])
        self.told.append((file, secrets))

    async def put(self, text: str, secrets: SecretValues | None = None) -> Plan:
        """Plan and apply."""
        plan = await self.applier.plan(text, secrets)
        return await self.applier.apply(text, secrets, plan.id)

    def with_secrets(self) -> str:
        """The file, with secrets for its project."""
        return self.text.replace("# secrets = ", "secrets = ")


@pytest.fixture
async def event(tmp_path: Path) -> AsyncIterator[Event]:
    store = await open_store(tmp_path)
    base = tmp_path / "event"
    base.mkdir()
    yield Event(base, store)
    await store.close()


async def test_the_first_plan_says_so_and_changes_nothing(event: Event) -> None:
    plan = await event.applier.plan(event.text, None)
    assert plan.first
    assert [change.key for change in plan.changes] == ["event", "project[intro]"]
    assert await event.store.applied() is None
    assert event.engine.events == []


async def test_apply_keeps_the_file_hands_it_over_and_tells_the_core(event: Event) -> None:
    await event.put(event.text)
    assert await event.store.applied() == event.text
    digests = await event.store.digests()
    [told] = event.engine.events
    assert isinstance(told, EventSpecApplied)
    assert told.spec.name == "my-workshop"
    assert [project.digest for project in told.spec.projects] == [digests[INTRO]]
    assert [file.event.name for file, _ in event.told] == ["my-workshop"]


async def test_only_what_differs_is_in_the_next_plan(event: Event) -> None:
    await event.put(event.text)
    plan = await event.applier.plan(event.text.replace("attendees = 4", "attendees = 8"), None)
    assert not plan.first
    assert [(change.key, change.before, change.after) for change in plan.changes] == [("fleet.attendees", "4", "8")]
    assert (await event.applier.plan(event.text, None)).changes == ()


async def test_a_changed_image_is_a_change_though_the_file_is_the_same(event: Event) -> None:
    await event.put(event.text)
    (event.base / "images/intro/welcome.ipynb").write_text("{}")
    plan = await event.applier.plan(event.text, None)
    assert [change.key for change in plan.changes] == ["project[intro].image"]


async def test_a_key_that_needs_a_restart_says_so(event: Event) -> None:
    await event.put(event.text)
    plan = await event.applier.plan(event.text.replace("127.0.0.1:8000", "127.0.0.1:9000"), None)
    [change] = [change for change in plan.changes if change.key == "listen.public"]
    assert "started again" in change.effect


async def test_every_fault_is_reported_and_nothing_changes(event: Event) -> None:
    wrong = event.text.replace("attendees = 4", "attendees = 0").replace('mode = "roster"', 'mode = "rooster"')
    with pytest.raises(ApplyError) as refused:
        await event.applier.plan(wrong, None)
    assert refused.value.code == "event_invalid"
    assert len(refused.value.faults) == 2
    assert any('did you mean "roster"?' in fault for fault in refused.value.faults)
    with pytest.raises(ApplyError):
        await event.applier.apply(wrong, None, "0" * 64)
    assert await event.store.applied() is None
    assert event.engine.events == []


async def test_a_file_that_was_kept_but_not_confirmed_can_be_applied_again(event: Event) -> None:
    event.engine.error = StoreUnavailableError("the disk is full")
    plan = await event.applier.plan(event.text, None)
    with pytest.raises(StoreUnavailableError):
        await event.applier.apply(event.text, None, plan.id)
    event.engine.error = None
    again = await event.put(event.text)
    assert [change.key for change in again.changes] == ["event"]
    assert "apply it again" in again.changes[0].effect
    assert len(event.engine.events) == 1
    assert (await event.applier.plan(event.text, None)).changes == ()


async def test_a_plan_is_stale_once_something_else_is_in_force(event: Event) -> None:
    plan = await event.applier.plan(event.text, None)
    other = event.text.replace("attendees = 4", "attendees = 6")
    await event.put(other)
    with pytest.raises(ApplyError) as refused:
        await event.applier.apply(event.text, None, plan.id)
    assert refused.value.code == "plan_stale"
    assert await event.store.applied() == other


@pytest.mark.parametrize("what", ["file", "image", "secrets"])
async def test_a_plan_is_good_for_what_it_was_made_of_only(event: Event, what: str) -> None:
    text = event.with_secrets()
    secrets: SecretValues = {INTRO: {"*": {"KEY": "one"}}}
    plan = await event.applier.plan(text, secrets)
    if what == "file":
        text += "\n# a comment\n"
    elif what == "image":
        (event.base / "images/intro/more.txt").write_text("more")
    else:
        secrets = {INTRO: {"*": {"KEY": "two"}}}
    with pytest.raises(ApplyError) as refused:
        await event.applier.apply(text, secrets, plan.id)
    assert refused.value.code == "plan_stale"


async def test_the_same_plan_twice_has_the_same_id_but_not_in_another_process(event: Event) -> None:
    first, again = await event.applier.plan(event.text, None), await event.applier.plan(event.text, None)
    assert first.id == again.id
    other = EventApplier(event.engine, event.store, base=event.base, environ={}, applied=event._applied)
    assert (await other.plan(event.text, None)).id != first.id


async def test_secrets_are_read_from_the_files_that_the_event_file_names(event: Event) -> None:
    (event.base / "secrets.csv").write_text("attendee,KEY\n*,everybodys\nAda,hers\n")
    await event.put(event.with_secrets())
    assert await event.store.secrets() == {INTRO: {"*": {"KEY": "everybodys"}, "ada": {"KEY": "hers"}}}
    assert event.told[0][1] == await event.store.secrets()


async def test_secrets_that_come_along_are_folded_and_never_in_the_plan(event: Event) -> None:
    await event.put(event.with_secrets(), {INTRO: {" ADA ": {"KEY": "s3cret"}}})
    assert await event.store.secrets() == {INTRO: {"ada": {"KEY": "s3cret"}}}
    plan = await event.applier.plan(event.with_secrets(), {INTRO: {"ada": {"KEY": "an0ther"}}})
    assert [change.key for change in plan.changes] == ["project[intro].secrets"]
    assert "s3cret" not in str(plan)
    assert "an0ther" not in str(plan)


@pytest.mark.parametrize(
    ("secrets", "fault"),
    [
        ({}, "are missing"),
        ({INTRO: {}, "other": {}}, "no project “other”"),
        ({INTRO: {" ": {"KEY": "s3cret"}}}, "no attendee"),
        ({INTRO: {"ada": {"KEY": "s3cret"}, "ADA": {"KEY": "s3cret"}}}, "an earlier row has"),
        ({INTRO: {"ada": {"MUX_KEY": "s3cret"}}}, "name that is not allowed"),
        ({INTRO: {"ada": {"9": "s3cret"}}}, "name that is not allowed"),
        ({INTRO: {"ada": {"KEY": "s3cret\0"}}}, "NUL"),
        ({INTRO: {"ada": {"KEY": "s3cret" * 10_000}}}, "more than"),
    ],
)
async def test_secrets_that_come_along_are_held_to_the_same_bounds(
    event: Event, secrets: SecretValues, fault: str
) -> None:
    with pytest.raises(ApplyError) as refused:
        await event.applier.plan(event.with_secrets(), secrets)
    assert any(fault in line for line in refused.value.faults)
    assert "s3cret" not in str(refused.value.faults)


async def test_a_file_in_force_that_cannot_be_read_any_more_is_replaced_with_a_warning(event: Event) -> None:
    await event.store.save_applied("[event]\nold = true\n", {}, {})
    plan = await event.put(event.text)
    assert len(plan.warnings) == 1
    assert not plan.first
    assert await event.store.applied() == event.text


# --- what ships are found by ------------------------------------------------------------------------------------------


async def test_an_event_with_ships_is_not_renamed(event: Event) -> None:
    event.engine.room = room()
    await event.put(event.text)
    renamed = event.text.replace('name = "my-workshop"', 'name = "renamed"')
    event.engine.room = room(ship_view())
    with pytest.raises(ApplyError, match="cannot change while there is a ship") as refused:
        await event.applier.plan(renamed, None)
    assert refused.value.code == "ships_lost"
    assert await event.store.applied() == event.text

    event.engine.room = room()
    await event.put(renamed)
    assert await event.store.applied() == renamed
