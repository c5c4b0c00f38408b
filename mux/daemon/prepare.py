"""What must be so before anything listens: a data directory, a store, and an event file in force.

The event file enters the store at the first start, with the roster; after that only ``mux apply`` changes what is in
force, and a file that differs is reported. So a daemon that restarts in the middle of an event never stumbles over a
file that somebody is just editing.
"""

from __future__ import annotations

import asyncio
import os
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mux.auth.passwords import Passwords
from mux.auth.roster import Roster
from mux.auth.roster_csv import RosterFaultsError, decode
from mux.config import (
    DATA_DIRECTORY_DEFAULT,
    ConfigError,
    EventFile,
    load,
    parse,
    read_secrets,
    read_text,
    resolve_images,
    resolved,
)
from mux.core.plural import counted
from mux.daemon.errors import EXIT_CONFIG, StartError
from mux.keys import KeyFileError, Keyring
from mux.lockfile import holder
from mux.store.base import Store, StoreError
from mux.store.sql import SqlStore, sqlite_url

ROSTER_BYTES_MAX = 8 * 1024 * 1024
"""20,000 rows of 400 bytes."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the daemon starts from.

    Args:
        file: the event file in force.
        base: directory that its relative paths start at.
        data: the data directory, absolute.
        warnings: what people should know.
    """

    file: EventFile
    base: Path
    data: Path
    warnings: tuple[str, ...]


def data_directory(config: Path, environ: Mapping[str, str]) -> Path:
    """Where the mux keeps its data, even while the file has other faults. Raises StartError."""
    base = config.absolute().parent
    try:
        return resolved(base, load(config, environ).data.directory)
    except ConfigError as error:
        faults = error
    named = environ.get("MUX_DATA_DIRECTORY") or _named_directory(config) or DATA_DIRECTORY_DEFAULT
    directory = resolved(base, named)
    if not (directory / "mux.db").exists():
        raise StartError(str(faults), EXIT_CONFIG) from faults
    return directory


def _named_directory(config: Path) -> str | None:
    """What a file with faults calls its data directory, if that much of it can be read."""
    try:
        data = tomllib.loads(read_text(config)).get("data")
    except (ConfigError, ValueError):
        return None
    named = data.get("directory") if isinstance(data, dict) else None
    return named if isinstance(named, str) else None


def refuse_beside_another(data: Path) -> None:
    """Leave the store alone while another mux runs on it: it may be of a version that does not know today's schema.

    A supervisor that is about to give way to the next version of itself prepares that. Raises StartError.
    """
    other = holder(data)
    if other is not None and other != str(os.getppid()):
        raise StartError(f"mux is already running on {data} (process {other})")


def open_keys(data: Path) -> Keyring:
    """The mux's root key. Raises StartError."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Keyring.open(data / "keys" / "root.key")
    except KeyFileError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"{data}: {error.strerror}; mux needs a data directory that it can write") from error


async def open_store(data: Path) -> SqlStore:
    """The store of a data directory. Raises StartError."""
    store = SqlStore(sqlite_url(data / "mux.db"), clock=time.time)
    try:
        await store.open()
    except StoreError as error:
        raise StartError(str(error)) from error
    return store


async def prepare(config: Path, environ: Mapping[str, str], *, apply_file: bool = False) -> Prepared:
    """Have everything in place that the daemon starts from; safe to repeat.

    Args:
        config: absolute path of the event file.
        environ: ``MUX_…`` variables are read from it.
        apply_file: put the file in force even if another one is.

    Raises StartError.
    """
    base = config.parent
    data = data_directory(config, environ)
    refuse_beside_another(data)
    keys = open_keys(data)
    store = await open_store(data)
    try:
        applied = await store.applied()
        if applied is None or apply_file:
            return await _enter(config, data, store, keys, environ)
        return Prepared(_in_force(applied, base, environ), base, data, _differs(config, applied))
    except StoreError as error:
        raise StartError(str(error)) from error
    finally:
        await store.close()


def _in_force(applied: str, base: Path, environ: Mapping[str, str]) -> EventFile:
    try:
        return parse(applied, base=base, environ=environ, files=False)
    except ConfigError as error:
        raise StartError(f"the event file in force cannot be read by this version:\n{error}", EXIT_CONFIG) from error


def _differs(config: Path, applied: str) -> tuple[str, ...]:
    try:
        if read_text(config) == applied:
            return ()
    except ConfigError as error:
        return (f"{config} cannot be read ({error}); the event file in force is the one applied last",)
    return (f"{config} differs from what is in force; `mux apply` shows the difference and applies it",)


async def _enter(config: Path, data: Path, store: Store, keys: Keyring, environ: Mapping[str, str]) -> Prepared:
    base = config.parent
    try:
        text = read_text(config)
        file = parse(text, base=base, environ=environ)
        digests = await resolve_images(file, base)
        secrets = await asyncio.to_thread(read_secrets, file, base)
    except ConfigError as error:
        raise StartError(str(error), EXIT_CONFIG) from error
    warnings: tuple[str, ...] = ()
    if file.auth.roster is not None and await store.applied() is None:
        warnings = await _import_roster(resolved(base, file.auth.roster), store, keys)
    await store.save_applied(text, secrets, digests)
    return Prepared(file, base, data, warnings)


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(ROSTER_BYTES_MAX + 1)
    if len(raw) > ROSTER_BYTES_MAX:
        raise StartError(f"{path} is larger than {ROSTER_BYTES_MAX} bytes", EXIT_CONFIG)
    return raw


async def _import_roster(path: Path, store: Store, keys: Keyring) -> tuple[str, ...]:
    try:
        raw = await asyncio.to_thread(_read_bounded, path)
        result = await Roster(store, keys, Passwords()).import_csv(decode(raw), time.time())
    except OSError as error:
        raise StartError(f"{path}: the roster cannot be read: {error.strerror}", EXIT_CONFIG) from error
    except RosterFaultsError as error:
        raise StartError(f"{path}: {error}", EXIT_CONFIG) from error
    if not result.codes:
        return ()
    return (
        f"Codes were generated for {counted(len(result.codes), 'person', 'people')} of {path.name} and are not kept; "
        "`mux roster slips` prints them anew",
    )
