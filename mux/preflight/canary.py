"""A canary: one real ship, taken all the way to `available` and removed again.

Owns a throw-away mux: the event's own file, cut down to one ship, in a directory of its own. It launches with the
event's provider, image and projects, so that what it meets is what the fleet would meet. Rules: nothing of the event's
own data is read or written; whatever happens, the ship is removed, or it is said that it was not. A flight that is
cancelled ends with a finding all the same, once the ship is removed. `canary_keeper` sees to it that this is not cut
short.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from mux.config import EventFile, parse, read_text, resolved
from mux.config.template import toml
from mux.core.plural import counted
from mux.daemon.errors import StartError
from mux.daemon.machines import provider_of
from mux.daemon.prepare import open_keys
from mux.preflight.finding import Finding, failure, ok, warning
from mux.preflight.machine import ADMIN_SOCKET
from mux.providers.base import ProviderError

CHECK = "canary"
LOOK_S = 0.5
START_S_MAX = 120.0
"""For the throw-away mux to answer: it reads the images first."""
BOOT_MORE_S = 60.0
"""Beyond the event's own deadline for a boot, after which mux gives a ship up by itself."""
REMOVE_S_MAX = 600.0
"""Clouds take minutes to end a machine."""
STOP_S_MAX = 130.0
"""A little more than a supervisor takes at most."""
KEPT_TABLES = ("event", "project", "fleet", "ec2", "registry", "warming")
"""Of the event file: what a ship is made from, and how long it may take. Nobody logs in; there is no timetable."""
SIZES = ("attendees", "spare_seats", "ready_seats", "ports")


class _CanaryError(Exception):
    """It did not work; the message says where it stood."""


async def canary(config: Path, file: EventFile, environ: Mapping[str, str]) -> Finding:
    """Launch one ship of an event, wait until its seats are ready, and remove it.

    Args:
        config: the event file's path.
        file: what stands in it.
        environ: for the throw-away mux; its own variables that override listeners and paths are left out.
    """
    # A Unix socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="mux-canary-"))
    try:
        (directory / "event.toml").write_text(cut_down(read_text(config), file, directory), encoding="utf-8")
        return await _flown(directory, file, environ)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def cut_down(text: str, file: EventFile, directory: Path) -> str:
    """The event file of the throw-away mux.

    Args:
        text: the event file's.
        file: what stands in it.
        directory: of the throw-away mux.
    """
    tables: dict[str, Any] = {name: table for name, table in tomllib.loads(text).items() if name in KEPT_TABLES}
    fleet = {name: value for name, value in tables["fleet"].items() if name not in SIZES}
    tables["fleet"] = {**fleet, "attendees": file.fleet.seats_per_ship}
    local = file.fleet.provider == "local"
    if not local:
        tables["fleet"]["ports"] = str(file.fleet.ports)
    for project in tables["project"]:
        project.pop("secrets", None)
        if file.fleet.runtime == "process":
            project["image"] = str(resolved(file.base, project["image"]))
    if "config" in tables.get("registry", {}):
        tables["registry"]["config"] = str(resolved(file.base, tables["registry"]["config"]))
    public, admin, control = (_free_port() for _ in range(3))
    control_at = f"127.0.0.1:{control}" if local else str(file.listen.control)
    tables["listen"] = {"public": f"127.0.0.1:{public}", "admin": f"127.0.0.1:{admin}", "control": control_at}
    tables["data"] = {"directory": str(directory / "data")}
    lines = []
    for name, table in tables.items():
        for each in table if name == "project" else [table]:
            lines.append(f"[[{name}]]" if name == "project" else f"[{name}]")
            lines += [f"{key} = {toml(value)}" for key, value in each.items()]
    return "\n".join(lines) + "\n"


async def _flown(directory: Path, file: EventFile, environ: Mapping[str, str]) -> Finding:
    kept = {n: v for n, v in environ.items() if not n.startswith(("MUX_LISTEN", "MUX_DATA", "MUX_AUTH", "MUX_CONFIG"))}
    began = time.monotonic()
    with (directory / "mux.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mux.cli", "--config", str(directory / "event.toml"), "serve",
            env=kept, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    connector = aiohttp.UnixConnector(str(directory / "data" / ADMIN_SOCKET))
    try:
        async with aiohttp.ClientSession("http://mux/api/v1/", connector=connector) as api:
            await _reached(api, process, directory)
            ship = await _available(api, file.fleet.boot_deadline_s + BOOT_MORE_S)
        finding = _good(ship, time.monotonic() - began, file)
    except _CanaryError as error:
        finding = failure(CHECK, str(error), "mend that first: every ship would fail like this")
    except asyncio.CancelledError:
        finding = warning(CHECK, "ended before it was available; its ship is removed", "check again")
    except (aiohttp.ClientError, OSError) as error:
        finding = failure(CHECK, f"the throw-away mux went away ({type(error).__name__})", "check again")
    finally:
        await _stopped(process)
        removed = await _removed(directory / "event.toml", kept)
    if removed:
        return finding
    remedy = "look for it at the provider; `mux fleet reap --foreign` ends what carries the event's name"
    return failure(CHECK, f"{finding.said}; its machine could not be removed", remedy)


def _good(ship: Mapping[str, Any], took_s: float, file: EventFile) -> Finding:
    seats = counted(len(ship["seats"]), "seat")
    said = f"{ship['id']} was available with {seats} after {took_s:.0f} of {file.fleet.boot_deadline_s:.0f} s"
    return ok(CHECK, said, number=round(took_s, 1), limit=file.fleet.boot_deadline_s, unit="s")


async def _reached(api: aiohttp.ClientSession, process: asyncio.subprocess.Process, directory: Path) -> None:
    """Until the throw-away mux answers."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S_MAX):
            while process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await _status(api)
                    return
                await asyncio.sleep(LOOK_S)
    lines = (directory / "mux.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise _CanaryError(f"mux did not start: {lines[-1][:300] if lines else 'it said nothing'}")


async def _available(api: aiohttp.ClientSession, bound_s: float) -> Mapping[str, Any]:
    """The ship once its seats are ready."""
    status: Mapping[str, Any] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(bound_s):
            while True:
                status = await _status(api)
                # First: a project that fails on and on no longer holds seats back.
                if failed := _failures(status):
                    raise _CanaryError(failed)
                for ship in status["ships"]:
                    if ship["state"] == "available":
                        found: Mapping[str, Any] = ship
                        return found
                await asyncio.sleep(LOOK_S)
    standing = "; ".join(f"{ship['id']} is {ship['state']}, {ship['phase'] or 'silent'}" for ship in status["ships"])
    raise _CanaryError(f"not available after {bound_s:.0f} s: {standing or 'no ship was launched'}")


def _failures(status: Mapping[str, Any]) -> str:
    """What stands in the way; empty while there is hope. What a fleet waits for, such as capacity, a canary tells."""
    reasons = [condition for ship in status["ships"] for condition in ship["conditions"] if "failed" in condition]
    reasons += [text for ship in status["ships"] for seat in ship["seats"] for text in seat["failures"].values()]
    reasons += [f"{project}: {reason}" for project, reason in status["projects_broken"].items()]
    if status["launching_text"]:
        reasons.append(f"launching {status['launching_text']}")
    return reasons[0].splitlines()[0][:300] if reasons else ""


async def _removed(config: Path, environ: Mapping[str, str]) -> bool:
    """End every machine of the throw-away mux, which has ended; whether that was seen to be so."""
    data = config.parent / "data"
    try:
        file = parse(read_text(config), base=config.parent, environ=environ, files=False)
        provider = provider_of(file, data, open_keys(data).store_id(), lambda _: None)
        async with asyncio.timeout(REMOVE_S_MAX):
            await provider.open()
            try:
                await asyncio.gather(*(provider.terminate(ship) for ship in await provider.list()))
                removed = not await provider.list()
                with contextlib.suppress(ProviderError):
                    # What costs nothing, but holds the ship's user-data: its launch template.
                    await provider.reap(foreign=False)
                return removed
            finally:
                await provider.close()
    except (ProviderError, StartError, TimeoutError):
        return False


async def _status(api: aiohttp.ClientSession) -> Mapping[str, Any]:
    async with api.get("status", raise_for_status=True) as response:
        found: Mapping[str, Any] = await response.json()
        return found


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
