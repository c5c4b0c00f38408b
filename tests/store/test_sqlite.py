"""What is SQLite's own: the file, its mode, its settings, and what goes wrong with files and disks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mux.core.commands import SaveControls, SaveSession
from mux.core.model import Doors, ProjectName
from mux.store.base import StoreError, StoreUnavailableError
from mux.store.database import READERS_MAX
from mux.store.faults import StoreDamagedError, StoreNewerError, StoreUnwritableError, translate
from mux.store.sql import SqlStore, sqlite_url
from tests.store.samples import person, session

CONTROLS = SaveControls(Doors.OPEN, doors_opened=False, launching=True, ships_made=1, turns=1)
NOBODY = 65534


async def _made(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    await store.open()
    await store.save_users([person(str(n), f"person {n}", credential=f"{n}" * 40) for n in range(300)])
    await store.close()


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Without root's right to write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_when_everybody_was_removed_no_file_has_a_name_or_an_address(tmp_path: Path) -> None:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"))
    await store.open()
    people = [person(str(n), f"Person {n} Lovelace", f"p{n}@example.org") for n in range(300)]
    await store.save_users(people)
    # What was removed or replaced before has left its traces, too.
    await store.remove_users([each.id for each in people[:100]])
    await store.save_users([person("100", "Renamed Lovelace", "new@example.org")])
    await store.save_applied("", {ProjectName("intro"): {"p7@example.org": {"KEY": "theirs"}}}, {})
    assert b"lovelace" in everything(tmp_path)
    assert len(await store.remove_everybody()) == 200
    kept = everything(tmp_path)
    assert b"lovelace" not in kept
    assert b"example.org" not in kept
    await store.close()


async def test_while_a_reader_holds_the_log_the_removal_says_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mux.store.database.BUSY_TIMEOUT_MS", 50)
    path = tmp_path / "mux.db"
    store = SqlStore(sqlite_url(path))
    await store.open()
    await store.save_users([person("1", "Ada Lovelace")])
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        with pytest.raises(StoreUnavailableError, match="try again"):
            await store.remove_everybody()
    assert await store.remove_everybody() == []
    assert b"lovelace" not in everything(tmp_path)
    await store.close()


def everything(place: Path) -> bytes:
    """All bytes of all files, in lower case."""
    return b"".join(file.read_bytes() for file in place.iterdir()).lower()


@pytest.mark.parametrize("name", ["mux.db", "with space & ünï%20.db", "a#b.db"])
async def test_the_database_and_its_companions_are_the_owners_alone(tmp_path: Path, name: str) -> None:
    store = SqlStore(sqlite_url(tmp_path / "new" / name))
    await store.open()
    await store.commit([CONTROLS])
    files = list((tmp_path / "new").iterdir())
    assert {file.name for file in files} == {name, f"{name}-wal", f"{name}-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    await store.close()


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    path.touch()
    path.chmod(0o644)
    await _made(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_every_connection_is_set_to_survive_the_loss_of_power(tmp_path: Path) -> None:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"))
    await store.open()
    engine = store._opened()
    async with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            values = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert values == ["wal", 2, 1]
    await store.close()


async def test_a_database_of_a_newer_mux_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    await _made(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreNewerError, match="newer mux") as refused:
        await SqlStore(sqlite_url(path)).open()
    assert refused.value.code == "store_newer" and not refused.value.retryable
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreDamagedError, match="restore the last backup"):
        await SqlStore(sqlite_url(path)).open()
    assert path.read_bytes() == b"not a database at all" * 100


async def test_a_damaged_database_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    await _made(path)
    data = bytearray(path.read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match="damaged") as refused:
        await SqlStore(sqlite_url(path)).open()
    assert not refused.value.retryable


async def test_a_record_that_cannot_be_read_is_damage_and_named(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    store = SqlStore(sqlite_url(path))
    await store.open()
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO ships (id, state, record) VALUES ('ship-0001', 'running', '{}')")
    raw.close()
    with pytest.raises(StoreDamagedError, match="ship-0001"):
        await store.load(0.0)
    await store.close()


async def test_a_place_that_cannot_be_a_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnwritableError, match="must be able to write") as refused:
        await SqlStore(sqlite_url(tmp_path / "file" / "mux.db")).open()
    assert "\n" not in str(refused.value)


async def test_a_directory_that_may_not_be_written_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with _unprivileged(), pytest.raises(StoreUnwritableError, match="must be able to write"):
            await SqlStore(sqlite_url(tmp_path / "mux.db")).open()
    finally:
        tmp_path.chmod(0o700)


async def test_a_database_that_cannot_be_opened_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """Nobody may open another file, or somebody has just moved the directory: a mux that runs must not end for that."""
    place, aside = tmp_path / "data", tmp_path / "aside"
    store = SqlStore(sqlite_url(place / "mux.db"))
    await store.open()
    await store._opened().dispose()  # connections that stand would go on
    place.rename(aside)
    for attempt in (lambda: store.commit([CONTROLS]), store.users):
        with pytest.raises(StoreUnavailableError, match="must be able to write") as refused:
            await attempt()
        assert refused.value.retryable
    aside.rename(place)
    await store.commit([CONTROLS])
    assert (await store.load(0.0)).controls == CONTROLS
    await store.close()


async def test_a_full_disk_is_said_nothing_is_written_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"))
    await store.open()
    await store.commit([CONTROLS])

    async def pages_max(pages: int) -> None:
        # SQLite's own bound on the file's size: it fails just as a full disk does.
        async with store._opened().connect() as connection:
            await connection.execute(text(f"PRAGMA max_page_count={pages}"))

    async with store._opened().connect() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
    await pages_max(pages)
    batch = [SaveSession(session(f"{n:064}")) for n in range(2000)]
    with pytest.raises(StoreUnavailableError, match="disk is full") as refused:
        await store.commit(batch)
    assert refused.value.retryable
    assert (await store.load(0.0)).sessions == ()
    await pages_max(1_000_000)
    await store.commit(batch)
    assert len((await store.load(0.0)).sessions) == 2000
    await store.close()


async def test_a_lock_that_is_not_released_is_worth_another_try(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    store = SqlStore(sqlite_url(path))
    await store.open()
    async with store._opened().connect() as connection:
        await connection.execute(text("PRAGMA busy_timeout=1"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="lock") as refused:
        await store.commit([CONTROLS])
    assert refused.value.retryable
    other.execute("ROLLBACK")
    other.close()
    await store.commit([CONTROLS])
    await store.close()


async def test_however_many_read_the_writer_finds_a_connection_and_readers_are_told_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"))
    await store.open()
    over = asyncio.Event()

    async def slow(_connection: AsyncConnection) -> None:
        await over.wait()

    readers = [asyncio.create_task(store._read(slow)) for _ in range(READERS_MAX)]
    await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr("mux.store.database.READ_WAIT_S", 0.01)
        with pytest.raises(StoreUnavailableError, match="try again") as refused:
            await store.users()
    assert refused.value.retryable
    await store.commit([CONTROLS])
    over.set()
    await asyncio.gather(*readers)
    assert await store.users() == []
    await store.close()


def test_a_pool_without_a_free_connection_is_a_trouble_that_passes() -> None:
    error = translate(sqlalchemy.exc.TimeoutError("QueuePool limit"), "mux.db")
    assert isinstance(error, StoreUnavailableError)


async def test_errors_of_the_driver_never_pass_as_they_are(tmp_path: Path) -> None:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"))
    await store.open()
    with sqlite3.connect(tmp_path / "mux.db") as raw:
        raw.execute("DROP TABLE waiting")
    raw.close()
    with pytest.raises(StoreError) as refused:
        await store.load(0.0)
    assert refused.value.__cause__ is not None
    await store.close()
