"""This machine, where the provider `local` makes ships of it: its size, its ports, its images."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from mux.config import ConfigError, EventFile, Listener, resolve_images
from mux.preflight.finding import Finding, Outcome, failure, ok
from mux.preflight.room import Machine, Project, cpus_fit, disk_fits, memory_fits

MUX_RUNS = "mux is running and has them"
ADMIN_SOCKET = Path("run") / "admin.sock"
"""Below the data directory: somebody answers there while mux runs."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """This machine.

    Args:
        machine: memory and processors.
        disk_free_bytes: where the data directory is, or will be.
        mux_runs: mux is running on this event's data directory.
        taken: listeners whose port another program has.
    """

    machine: Machine
    disk_free_bytes: int
    mux_runs: bool
    taken: tuple[str, ...]


def gathered(file: EventFile) -> MachineFacts:
    """Facts of this machine; quick, but it blocks."""
    runs = _answers(file.data_directory / ADMIN_SOCKET)
    listen = file.listen
    listeners = {"public": listen.public, "admin": listen.admin, "control": listen.control, "http": listen.http}
    taken = [f"listen.{name} ({one})" for name, one in listeners.items() if not runs and one and not _free(one)]
    there = next(path for path in (file.data_directory, *file.data_directory.parents) if path.exists())
    machine = Machine("this machine", psutil.virtual_memory().total, float(os.cpu_count() or 1))
    return MachineFacts(machine, shutil.disk_usage(there).free, runs, tuple(taken))


def judged(facts: MachineFacts, file: EventFile) -> list[Finding]:
    """What they mean: every ship is on this machine."""
    projects = [Project(each.name, each.memory_bytes, each.cpus) for each in file.projects]
    seats = file.fleet.ships_wanted * file.fleet.seats_per_ship
    return [
        # People who try an event at home have fewer at a time than seats.
        memory_fits(facts.machine, projects, seats, over=Outcome.WARNING),
        cpus_fit(facts.machine, projects, seats),
        disk_fits(facts.disk_free_bytes, 0, seats, "this machine"),
    ]


def judged_listeners(facts: MachineFacts) -> Finding:
    """Whether mux could listen."""
    if facts.mux_runs:
        return ok("listeners", MUX_RUNS)
    if facts.taken:
        remedy = "stop the program that has it, or choose another port"
        return failure("listeners", f"not free: {', '.join(facts.taken)}", remedy)
    return ok("listeners", "all are free")


async def judged_images(file: EventFile, environ: Mapping[str, str]) -> list[Finding]:
    """Whether this machine has the images: directories, or what its Docker engine holds."""
    try:
        digests = await resolve_images(file, file.base, environ)
    except ConfigError as error:
        return [failure("images", str(fault), "build or pull it, and check again") for fault in error.faults]
    return [ok(f"image of {name}", f"{digest[:19]}… is here") for name, digest in digests.items()]


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(os.fspath(path))
        return True
    return False


def _free(listener: Listener) -> bool:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError:
        return False
    return True
