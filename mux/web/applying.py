"""Putting event files in force: the plan that is shown first, and the apply that carries out that plan and no other.

Owns the order: parse → compare with what is in force → keep in the store → hand the secrets over → tell the core. Must
not know who asks, or how the file came here.

Rules:
- A file is refused with every fault at once, and then nothing has changed.
- A plan has an id that stands for the file, its secrets, the images' digests and what is in force. `apply` makes the
  plan again and refuses when the id is another one. The id is keyed, so that it says nothing of the secrets.
- One apply at a time.
- What ships are found by stays as long as there are ships: they would run on, and cost, unseen.
- Relative paths start at the directory of the event file that mux was started with.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets as randomness
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from mux.config import Change as Difference
from mux.config import (
    ConfigError,
    EventFile,
    differences,
    image_differences,
    parse,
    read_secrets,
    resolve_images,
    secret_differences,
    to_spec,
)
from mux.config.kinds import variable_name_ok
from mux.config.secrets import ROWS_MAX, VALUE_CHARS_MAX, VARIABLES_MAX
from mux.core.events import EventSpecApplied
from mux.core.fold import fold
from mux.core.model import ProjectName
from mux.store.base import Store
from mux.web.admin_api_deps import AdminEngine, ApplyError, Plan, SecretValues
from mux.web.api_models import Change

log = structlog.get_logger(__name__)

_UNTOLD = Difference("event", "", "", "was kept by the last apply, but may not have reached the fleet: apply it again")
"""Shown when the engine was too busy to confirm; without it there would be no difference left to apply."""

FOUND_BY = ("event.name", "fleet.provider", "ec2.region")
"""Keys of the event file that ships are found by."""

Applied = Callable[[EventFile, SecretValues], Awaitable[None]]
"""Told of a file that has been kept, before the core is: swaps what the daemon holds in memory."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file that could be put in force now."""

    file: EventFile
    digests: Mapping[ProjectName, str]
    secrets: SecretValues
    plan: Plan


class EventApplier:
    """Puts event files in force: `mux.web.admin_api_deps.Applier`.

    Args:
        engine: gets `EventSpecApplied`.
        store: keeps the file, its secrets and its images' digests.
        base: directory that relative paths start at.
        environ: the environment that mux was started with.
        applied: told of each file that has been kept.
    """

    def __init__(
        self, engine: AdminEngine, store: Store, *, base: Path, environ: Mapping[str, str], applied: Applied
    ) -> None:
        self._engine = engine
        self._store = store
        self._base = base
        self._environ = dict(environ)
        self._applied = applied
        self._turn = asyncio.Lock()
        self._untold = False
        self._key = randomness.token_bytes(32)

    async def plan(self, text: str, secrets: SecretValues | None) -> Plan:
        """What would change. Raises ApplyError, StoreError."""
        return (await self._prepare(text, secrets)).plan

    async def apply(self, text: str, secrets: SecretValues | None, expected: str) -> Plan:
        """Put it in force. Raises ApplyError, StoreError, and EngineBusyError when the core has not taken it up yet."""
        async with self._turn:
            prepared = await self._prepare(text, secrets)
            if not hmac.compare_digest(prepared.plan.id, expected):
                raise ApplyError(
                    "plan_stale", "the file, an image, or what is in force changed since the plan; look at it again"
                )
            spec = to_spec(prepared.file, prepared.digests)
            await self._store.save_applied(text, prepared.secrets, prepared.digests)
            self._untold = True
            await self._applied(prepared.file, prepared.secrets)
            await self._engine.submit(EventSpecApplied(spec))
            self._untold = False
        log.info("event file applied", changes=len(prepared.plan.changes))
        return prepared.plan

    async def _prepare(self, text: str, given: SecretValues | None) -> _Prepared:
        try:
            # Secrets that come along stand for files that need not be on this machine.
            file = parse(text, base=self._base, environ=self._environ, files=given is None)
            digests = await resolve_images(file, self._base)
            if given is None:
                secrets: SecretValues = await asyncio.to_thread(read_secrets, file, self._base)
            else:
                secrets = checked_secrets(file, given)
        except ConfigError as error:
            faults = [str(fault) for fault in error.faults]
            raise ApplyError("event_invalid", "the event file is refused; nothing has changed", faults) from error
        old_text, old_secrets = await self._store.applied(), await self._store.secrets()
        old_digests = await self._store.digests()
        old, warnings = self._in_force(old_text)
        changes = [
            *differences(old, file),
            *image_differences(old_digests, digests),
            *secret_differences(old_secrets, secrets),
        ]
        self._keep_ships_found(changes)
        if self._untold:
            changes.append(_UNTOLD)
        plan = Plan(
            id=self._plan_id(old_text, text, old_secrets, secrets, old_digests, digests),
            changes=tuple(Change.model_validate(change) for change in changes),
            warnings=warnings,
            first=old_text is None,
        )
        return _Prepared(file, digests, secrets, plan)

    def _keep_ships_found(self, changes: Sequence[Difference]) -> None:
        """Refuse another answer to where ships are, while there are any. Raises ApplyError."""
        keys = [change.key for change in changes if change.key in FOUND_BY and change.before]
        ships = len(self._engine.status(time.time()).ships)
        if keys and ships:
            there = "there is a ship" if ships == 1 else f"there are {ships} ships"
            raise ApplyError(
                "ships_lost",
                f"{', '.join(keys)} cannot change while {there}: they would run on without mux; nothing has changed. "
                "End them with `mux fleet reap`, then apply again",
            )

    def _in_force(self, text: str | None) -> tuple[EventFile | None, tuple[str, ...]]:
        """The file in force. One that this version cannot read is shown as none, with a warning."""
        if text is None:
            return None, ()
        try:
            return parse(text, base=self._base, environ=self._environ, files=False), ()
        except ConfigError as error:
            return None, (
                f"the file in force cannot be read by this version, so every key counts as new: {error.faults[0]}",
            )

    def _plan_id(self, *parts: object) -> str:
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=dict)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def checked_secrets(file: EventFile, given: SecretValues) -> SecretValues:
    """Secrets that came with a file, names folded, held to the bounds of those that are read from files.

    Raises ApplyError; values are never shown.
    """
    wanted = {project.name for project in file.projects if project.secrets is not None}
    faults = [f"secrets: no project “{name[:40]}” with secrets is in the file" for name in sorted({*given} - wanted)]
    faults += [f"secrets: those of project “{name}” are missing" for name in sorted(wanted - {*given})]
    folded: dict[ProjectName, dict[str, dict[str, str]]] = {}
    for project in sorted(wanted & {*given}):
        rows = given[ProjectName(project)]
        if len(rows) > ROWS_MAX:
            faults.append(f"secrets: project “{project}” has more than {ROWS_MAX} rows")
            continue
        folded[ProjectName(project)] = {}
        for number, (attendee, values) in enumerate(rows.items(), 1):
            where = f"secrets: project “{project}”, row {number}"
            name = fold(attendee)
            if not name or name in folded[ProjectName(project)]:
                faults.append(f"{where}: no attendee, or one that an earlier row has")
            if len(values) > VARIABLES_MAX or not all(variable_name_ok(variable) for variable in values):
                faults.append(f"{where}: a variable's name that is not allowed, or more than {VARIABLES_MAX} variables")
            if any(len(value) > VALUE_CHARS_MAX or "\0" in value for value in values.values()):
                faults.append(f"{where}: a value of more than {VALUE_CHARS_MAX} characters, or with a NUL")
            folded[ProjectName(project)][name] = dict(values)
    if faults:
        raise ApplyError("event_invalid", "the secrets are refused; nothing has changed", faults[:100])
    return folded
