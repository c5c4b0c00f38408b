"""What a start needs: the event file enters once, and a start never stumbles over one that is being edited."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from mux.daemon.errors import EXIT_CONFIG, StartError
from mux.daemon.prepare import open_keys, open_store, prepare

EVENT = """\
[event]
name = "room"
public_address = "http://localhost:8000"
admin_address = "http://127.0.0.1:8001"
[[project]]
name = "intro"
image = "image"
[fleet]
attendees = 2
seats_per_ship = 2
[auth]
roster = "roster.csv"
[data]
directory = "data"
"""


@pytest.fixture
def event(tmp_path: Path) -> Path:
    (tmp_path / "image" / "home").mkdir(parents=True)
    (tmp_path / "image" / "home" / "note.txt").write_text("hello")
    (tmp_path / "roster.csv").write_text("name,email,role,code\nada,,attendee,\n")
    path = tmp_path / "event.toml"
    path.write_text(EVENT)
    return path


async def test_the_first_start_takes_in_the_file_the_digests_and_the_roster(event: Path) -> None:
    prepared = await prepare(event, {})
    assert "Codes were generated for 1 person of roster.csv" in prepared.warnings[0]
    store = await open_store(prepared.data)
    assert await store.applied() == EVENT
    assert list(await store.digests()) == ["intro"]
    assert [user.name for user in await store.users()] == ["ada"]
    await store.close()


async def test_a_file_that_changed_is_reported_and_not_applied(event: Path) -> None:
    await prepare(event, {})
    event.write_text(EVENT.replace("attendees = 2", "attendees = 20"))
    prepared = await prepare(event, {})
    assert prepared.file.fleet.attendees == 2
    assert "mux apply" in prepared.warnings[0]


async def test_a_file_that_has_been_broken_since_does_not_stop_a_start(event: Path) -> None:
    await prepare(event, {})
    event.write_text(EVENT.replace("attendees = 2", 'attendees = "many"'))
    assert (await prepare(event, {})).file.fleet.attendees == 2


async def test_even_a_file_that_is_no_toml_any_more_does_not_stop_a_start(event: Path) -> None:
    await prepare(event, {})
    event.write_text("[event\nname = ")
    assert (await prepare(event, {})).file.fleet.attendees == 2


async def test_an_image_that_changed_since_does_not_change_what_runs(event: Path) -> None:
    prepared = await prepare(event, {})
    store = await open_store(prepared.data)
    before = await store.digests()
    (event.parent / "image" / "home" / "note.txt").write_text("changed")
    await prepare(event, {})
    assert await store.digests() == before
    await store.close()


async def test_an_event_file_that_nobody_writes_by_hand_is_applied_at_each_start(event: Path) -> None:
    await prepare(event, {}, apply_file=True)
    event.write_text(EVENT.replace("attendees = 2", "attendees = 20"))
    (event.parent / "image" / "home" / "note.txt").write_text("changed")
    assert (await prepare(event, {}, apply_file=True)).file.fleet.attendees == 20


async def test_a_wrong_first_file_is_refused_with_every_fault(event: Path) -> None:
    event.write_text(EVENT.replace("attendees = 2", 'attendees = "many"').replace('name = "intro"', 'name = "IN TRO"'))
    with pytest.raises(StartError) as refused:
        await prepare(event, {})
    assert "attendees" in str(refused.value)
    assert "name" in str(refused.value)
    assert refused.value.exit_code == EXIT_CONFIG


async def test_a_wrong_roster_is_refused_and_nothing_is_kept(event: Path) -> None:
    (event.parent / "roster.csv").write_text("name,role\nada,emperor\n")
    with pytest.raises(StartError, match=r"roster\.csv"):
        await prepare(event, {})
    store = await open_store(event.parent / "data")
    assert await store.applied() is None
    await store.close()


async def test_a_roster_that_cannot_be_read_is_said(event: Path) -> None:
    (event.parent / "roster.csv").unlink()
    with pytest.raises(StartError, match="roster"):
        await prepare(event, {})


async def test_a_data_directory_that_cannot_be_made_is_said(event: Path) -> None:
    (event.parent / "data").write_text("a file")
    with pytest.raises(StartError, match="data"):
        await prepare(event, {})


async def test_the_data_directory_and_its_secrets_are_private(event: Path) -> None:
    await prepare(event, {})
    data = event.parent / "data"
    for path in (data, data / "keys"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (data / "keys" / "root.key", data / "mux.db"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    open_keys(tmp_path)
    path = tmp_path / "keys" / "root.key"
    path.write_bytes(os.urandom(5))
    with pytest.raises(StartError, match="restore it from a backup"):
        open_keys(tmp_path)


async def test_the_store_of_a_mux_that_runs_is_left_alone_but_for_its_own_supervisor(event: Path) -> None:
    data = (await prepare(event, {})).data
    (data / "run").mkdir()
    with (data / "run" / "supervisor.lock").open("w+b", buffering=0) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(b"1")
        before = (data / "mux.db").stat()
        with pytest.raises(StartError, match=r"already running on .* \(process 1\)"):
            await prepare(event, {})
        assert (data / "mux.db").stat() == before
        lock.seek(0)
        lock.write(str(os.getppid()).encode())
        await prepare(event, {})
