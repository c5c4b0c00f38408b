"""The store on a SQL database, through SQLAlchemy: SQLite today.

Owns the core's records and how a batch of commands becomes rows. Connections and transactions are in `database.py`,
the roster and its kin in `people.py`. Knows nothing of what the records mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Table, bindparam, case, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mux.core.commands import Behind, Persist, SaveBehind, SaveControls, SaveWishes, ShipRecord
from mux.core.model import Assignment, Doors, ProjectName, Session, SessionHash, ShipId, ShipState, UserId, Waiting
from mux.core.rollout import Rollout
from mux.core.spend import Meter
from mux.store import tables as t
from mux.store.base import ConflictError, Records
from mux.store.batch import Changes, gather
from mux.store.faults import DAMAGED_TEXT, StoreDamagedError
from mux.store.people import People
from mux.store.records import (
    dump_behind,
    dump_rollout,
    dump_ship,
    dump_wishes,
    load_behind,
    load_rollout,
    load_ship,
    load_wishes,
)
from mux.store.statements import upsert_rows, upserting

TERMINATED_KEPT_S = 86_400.0
"""Terminated ships are kept for a day, for the organizers' page."""

_T = TypeVar("_T")


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, for :class:`SqlStore`."""
    return URL.create("sqlite+aiosqlite", database=str(path)).render_as_string()


class SqlStore(People):
    """:class:`mux.store.base.Store` on SQLAlchemy.

    Args:
        url: of the database, see :func:`sqlite_url`.
        clock: seconds since the epoch; says when a ship was terminated and what is old enough to go.
    """

    def _prepare(self, connection: Connection) -> None:
        super()._prepare(connection)
        now = self._clock()
        connection.execute(delete(t.sessions).where(t.sessions.c.expires_at <= now))
        connection.execute(delete(t.organizer_sessions).where(t.organizer_sessions.c.expires_at <= now))
        connection.execute(delete(t.ships).where(t.ships.c.terminated_at <= now - TERMINATED_KEPT_S))

    async def load(self, now: float) -> Records:
        """Everything that the core starts from; sessions that have expired at ``now`` are left out."""

        async def work(connection: AsyncConnection) -> Records:
            ships = select(t.ships.c.id, t.ships.c.record).order_by(t.ships.c.id)
            lately = t.ships.c.terminated_at.is_(None) | (t.ships.c.terminated_at > now - TERMINATED_KEPT_S)
            controls = (await connection.execute(select(t.controls))).one_or_none()
            warming = (await connection.execute(select(t.warming))).one_or_none()
            broadcast = (await connection.execute(select(t.broadcast))).one_or_none()
            meter = (await connection.execute(select(t.spend))).one_or_none()
            return Records(
                ships=tuple(self._ship(row.id, row.record) for row in await connection.execute(ships.where(lately))),
                assignments=tuple(
                    Assignment(UserId(row.user_id), ShipId(row.ship), row.seat, row.epoch)
                    for row in await connection.execute(select(t.assignments).order_by(t.assignments.c.user_id))
                ),
                epochs={UserId(row.user_id): row.epoch for row in await connection.execute(select(t.epochs))},
                sessions=tuple(
                    Session(SessionHash(row.hash), UserId(row.user_id), row.expires_at)
                    for row in await connection.execute(
                        select(t.sessions).where(t.sessions.c.expires_at > now).order_by(t.sessions.c.hash)
                    )
                ),
                waiting=tuple(
                    Waiting(UserId(row.user_id), row.turn, row.since)
                    for row in await connection.execute(select(t.waiting).order_by(t.waiting.c.turn))
                ),
                controls=None if controls is None else _controls(controls, warming, broadcast),
                meter=None if meter is None else _meter(meter),
                rollouts=tuple(
                    self._rollout(row.project, row.record)
                    for row in await connection.execute(select(t.rollouts).order_by(t.rollouts.c.project))
                ),
                wishes={
                    UserId(row.user_id): self._wishes(row.user_id, row.paths)
                    for row in await connection.execute(select(t.wishes).order_by(t.wishes.c.user_id))
                },
                behind={
                    UserId(row.user_id): self._behind(row.user_id, row.ages)
                    for row in await connection.execute(select(t.behind).order_by(t.behind.c.user_id))
                },
            )

        return await self._read(work)

    def _ship(self, ship: str, record: str) -> ShipRecord:
        try:
            return load_ship(record)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamagedError(f"{self._place}: the record of {ship} cannot be read: {DAMAGED_TEXT}") from error

    def _rollout(self, project: str, record: str) -> Rollout:
        try:
            return load_rollout(record)
        except (ValueError, KeyError, TypeError) as error:
            what = f"{self._place}: the rollout of {project} cannot be read: {DAMAGED_TEXT}"
            raise StoreDamagedError(what) from error

    def _wishes(self, user: str, paths: str) -> dict[ProjectName, str]:
        try:
            return load_wishes(paths)
        except (ValueError, AttributeError) as error:
            raise StoreDamagedError(f"{self._place}: the wishes of {user} cannot be read: {DAMAGED_TEXT}") from error

    def _behind(self, user: str, ages: str) -> dict[ProjectName, Behind]:
        try:
            return load_behind(ages)
        except (ValueError, AttributeError, TypeError) as error:
            what = f"{self._place}: the ages of the files of {user} cannot be read: {DAMAGED_TEXT}"
            raise StoreDamagedError(what) from error

    async def commit(self, batch: Sequence[Persist]) -> None:
        """Carry out a batch in order, in one transaction.

        That a seat belongs to one attendee holds for what the batch leaves, not for every step on the way.

        Raises:
            ConflictError: a seat would have two attendees; ``key`` is ``<ship>/<seat>``.
            StoreUnavailableError: nothing was written; try again.
        """
        if not batch:
            return
        changes = gather(batch)
        try:
            await self._write(lambda connection: self._carry_out(connection, changes))
        except ConflictError as error:
            key = await self._taken_seat(changes)
            raise ConflictError(f"seat {key} would have two attendees", key=key) from error

    async def _carry_out(self, connection: AsyncConnection, changes: Changes) -> None:
        await self._save_ships(connection, list(changes.ships.values()))
        await _replace(connection, t.assignments, "user_id", changes.assignments, _assignment_row)
        await _replace(connection, t.sessions, "hash", changes.sessions, _session_row)
        await _replace(connection, t.waiting, "user_id", changes.waiting, _waiting_row)
        await _replace(connection, t.rollouts, "project", changes.rollouts, _rollout_row)
        await _replace(connection, t.wishes, "user_id", changes.wishes, _wishes_row)
        await _replace(connection, t.behind, "user_id", changes.behind, _behind_row)
        if changes.epochs:
            statement = upserting(connection.dialect, t.epochs)
            higher = case(
                (statement.excluded.epoch > t.epochs.c.epoch, statement.excluded.epoch), else_=t.epochs.c.epoch
            )
            rows = [{"user_id": user, "epoch": epoch} for user, epoch in changes.epochs.items()]
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["user_id"], set_={"epoch": higher}), rows
            )
        if changes.seen:
            statement = upserting(connection.dialect, t.seen).on_conflict_do_nothing(index_elements=["user_id"])
            await connection.execute(statement, [{"user_id": user} for user in changes.seen])
        if (controls := changes.controls) is not None:
            for table in (t.controls, t.warming, t.broadcast):
                await upsert_rows(connection, table, "id", [_controls_row(table, controls)])
        if changes.meter is not None:
            await upsert_rows(connection, t.spend, "id", [{"id": 1, **asdict(changes.meter)}])

    async def _save_ships(self, connection: AsyncConnection, ships: Sequence[ShipRecord]) -> None:
        if not ships:
            return
        now = self._clock()
        rows = [
            {
                "id": ship.id,
                "state": ship.state.value,
                "terminated_at": now if ship.state is ShipState.TERMINATED else None,
                "record": dump_ship(ship),
            }
            for ship in ships
        ]
        statement = upserting(connection.dialect, t.ships)
        new = statement.excluded
        # The first time counts: a terminated ship that is saved again does not stay for another day.
        terminated_at = case(
            (new.terminated_at.is_(None), None),
            (t.ships.c.terminated_at.is_not(None), t.ships.c.terminated_at),
            else_=new.terminated_at,
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={"state": new.state, "terminated_at": terminated_at, "record": new.record},
            ),
            rows,
        )

    async def _taken_seat(self, changes: Changes) -> str:
        """Which seat a refused batch would have given twice; read after the fact, so only as good as that."""
        wanted: set[tuple[str, int]] = set()
        for assignment in changes.assignments.values():
            if assignment is not None:
                if (assignment.ship, assignment.seat) in wanted:
                    return f"{assignment.ship}/{assignment.seat}"
                wanted.add((assignment.ship, assignment.seat))
        rows = await self._read(lambda connection: connection.execute(select(t.assignments)))
        taken = ((row.ship, row.seat) for row in rows if row.user_id not in changes.assignments)
        return next((f"{ship}/{seat}" for ship, seat in taken if (ship, seat) in wanted), "")


# --- rows and statements --------------------------------------------------------------------------------------------


def _assignment_row(assignment: Assignment) -> dict[str, Any]:
    return {
        "user_id": assignment.user,
        "ship": assignment.ship,
        "seat": assignment.seat,
        "epoch": assignment.epoch,
    }


def _session_row(session: Session) -> dict[str, Any]:
    return {"hash": session.hash, "user_id": session.user, "expires_at": session.expires_at}


def _waiting_row(waiting: Waiting) -> dict[str, Any]:
    return {"user_id": waiting.user, "turn": waiting.turn, "since": waiting.since}


def _rollout_row(rollout: Rollout) -> dict[str, Any]:
    return {"project": rollout.project, "record": dump_rollout(rollout)}


def _wishes_row(saved: SaveWishes) -> dict[str, Any]:
    return {"user_id": saved.user, "paths": dump_wishes(saved.paths)}


def _behind_row(saved: SaveBehind) -> dict[str, Any]:
    return {"user_id": saved.user, "ages": dump_behind(saved.ages)}


def _controls_row(table: Table, controls: SaveControls) -> dict[str, Any]:
    """What one of the tables of the controls keeps."""
    values = {"id": 1, **asdict(controls), "doors": controls.doors.value}
    return {column.name: values[column.name] for column in table.columns}


def _controls(*rows: Any) -> SaveControls:
    values = {name: value for row in rows if row is not None for name, value in row._mapping.items() if name != "id"}
    return SaveControls(**{**values, "doors": Doors(values["doors"])})


def _meter(row: Any) -> Meter:
    return Meter(row.spent, row.ship_seconds, row.ships, row.rate_micros, row.at)


async def _replace(
    connection: AsyncConnection,
    table: Table,
    key: str,
    changes: dict[Any, _T | None],
    row: Callable[[_T], dict[str, Any]],
) -> None:
    """Delete every key that changed, then insert what has a value: so that only the end must obey the constraints."""
    if not changes:
        return
    await connection.execute(
        delete(table).where(table.c[key] == bindparam("changed")), [{"changed": changed} for changed in changes]
    )
    if rows := [row(value) for value in changes.values() if value is not None]:
        await connection.execute(insert(table), rows)
