"""The files of a ship of the `local` provider: ``machine.json``, ``join.json``, and how they come and go.

Owns their formats and the rule that each is replaced whole. Blocks: call it in a thread. Raises OSError, which
`translated` turns into what a provider raises.

``machine.json`` holds ``version``, ``event``, ``ship``, ``wanted`` (run, parked, gone), ``host``, ``port_first``,
``port_count`` and ``stopped``. The format of ``join.json`` is described in docs/reference/control-protocol.md; the
agent's side of it is `ship_agent.join`, which the mux does not import: a test holds both together.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from mux.core.model import Machine, MachineStatus, ShipId
from mux.providers.base import LaunchOrder, ProviderError

MACHINE_VERSION: Final = 1
JOIN_VERSION: Final = 1
"""Of ``join.json``; the agent refuses another one."""
FILE_BYTES_MAX: Final = 64 * 1024
"""Bound of a JSON file that is read here."""
DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Record:
    """``machine.json``. ``stopped``: the workspaces of a parked machine have ended."""

    event: str
    ship: str
    wanted: Literal["run", "parked", "gone"]
    host: str
    port_first: int
    port_count: int
    stopped: bool = False

    def machine(self) -> Machine:
        """What the provider says of it."""
        status = MachineStatus.STOPPED if self.stopped else MachineStatus.RUNNING
        return Machine(ShipId(self.ship), status, self.host, self.port_first, self.port_count)


def join_for(order: LaunchOrder) -> dict[str, object]:
    """``join.json`` for one boot; the agent's side of the format is `ship_agent.join`."""
    return {
        "version": JOIN_VERSION,
        "ship": order.ship,
        "event": order.event,
        "control_url": order.control_url,
        "ca_pem": order.ca_pem,
        "join_token": order.join_token,
        "runtime": order.runtime,
        "boot": str(uuid.uuid4()),
    }


def read_record(directory: Path) -> Record | None:
    """What ``machine.json`` says; None when there is none that can be read."""
    try:
        with (directory / "machine.json").open("rb") as file:
            raw = json.loads(file.read(FILE_BYTES_MAX))
        if raw["version"] != MACHINE_VERSION or raw["ship"] != directory.name:
            return None
        if raw["wanted"] not in ("run", "parked", "gone"):
            return None
        return Record(
            event=str(raw["event"]),
            ship=str(raw["ship"]),
            wanted=raw["wanted"],
            host=str(raw["host"]),
            port_first=int(raw["port_first"]),
            port_count=int(raw["port_count"]),
            stopped=bool(raw["stopped"]),
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def save_record(directory: Path, record: Record) -> None:
    """Write ``machine.json``."""
    write_json(directory / "machine.json", {"version": MACHINE_VERSION, **asdict(record)})


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Replace a JSON file atomically, 0600: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(content, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_tree(path: Path) -> None:
    """Delete all of a ship's files, also out of directories that an attendee has made read-only."""
    for parent, directories, _files in os.walk(path):
        for name in directories:
            directory = Path(parent, name)
            if not directory.is_symlink():
                directory.chmod(0o700)
    shutil.rmtree(path)


def translated(error: OSError, path: Path) -> ProviderError:
    """What a provider raises for an error of the system; ``path`` stands in when the error names no file."""
    where = error.filename or path
    if error.errno in DISK_FULL:
        return ProviderError(f"{where}: the disk is full; free some space")
    return ProviderError(
        f"{where}: {error.strerror or type(error).__name__}; mux needs to read, write and run it",
        fatal=error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
    )
