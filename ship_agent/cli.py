"""``ship-agent``: the program on each ship.

``run`` keeps a ship's workspaces as the mux wants them, until it is told to stop; they outlive it. ``stop-workspaces``
stops them all and keeps their files; it is for whoever stops or ends the machine. ``join`` writes the join information
of this boot from what the machine was launched with; it is run once at each boot, before ``run``. ``trial`` starts one
workspace outside of any fleet, as its standard input says, and destroys it at the end of that: see `ship_agent.trial`.

Exit codes: 0 done, 1 the directory cannot be used or something could not be stopped, 2 wrong usage, 3 the mux refuses
this ship for good. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import io
import ipaddress
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast, get_args
from urllib.parse import urlsplit

import psutil
import structlog

from ship_agent.agent import Agent, Link, Observe
from ship_agent.files.base import WayName
from ship_agent.files.mounts import can_mount
from ship_agent.join import LOOPBACK, Join, JoinError, join_of_boot, read_join, write_join
from ship_agent.link_client import LinkClient, LinkRefusedError, client_context
from ship_agent.notify import READY, STOPPING, Notifier
from ship_agent.runtimes.base import Runtime, RuntimeFailure
from ship_agent.runtimes.docker import SOCKET_DEFAULT, DockerRuntime
from ship_agent.runtimes.process import ProcessRuntime
from ship_agent.runtimes.shim import write_json
from ship_agent.snapshots.client import FilesClient
from ship_agent.snapshots.keeper import SnapshotKeeper
from ship_agent.stopping import stop_all
from ship_agent.trial import run_on_streams

LOCK_WAIT_S = 15.0
"""How long ``stop-workspaces`` waits for an agent that is about to end."""
EXIT_REFUSED = 3
NETWORK_WAIT_S = 120.0
"""How long ``join`` waits for a way to the mux; then this machine is of no use, and is replaced."""
NETWORK_LOOK_S = 0.5

log = structlog.get_logger(__name__)


class CommandError(Exception):
    """A command cannot go on; one line for people."""


def main() -> None:
    """Entry point of ``ship-agent``."""
    arguments = _arguments()
    _log_to_stderr()
    directory: Path = arguments.dir.absolute()
    try:
        if arguments.command == "join":
            _join(directory, arguments.launch.absolute())
            return
        with _only_one(directory, wait_s=0.0 if arguments.command != "stop-workspaces" else LOCK_WAIT_S):
            if arguments.command == "run":
                asyncio.run(_run(directory, arguments.files))
            elif arguments.command == "trial":
                asyncio.run(run_on_streams(lambda name: make_runtime(name, directory), directory, _socket_path))
            else:
                asyncio.run(_stop_workspaces(directory))
    except LinkRefusedError as error:
        _fail(str(error), EXIT_REFUSED)
    except (CommandError, JoinError, RuntimeFailure) as error:
        _fail(str(error), 1)


async def _run(directory: Path, files: WayName) -> None:
    notifier = Notifier(os.environ)
    join = read_join(directory / "join.json")
    runtime = make_runtime(join.runtime, directory, join, files=files)
    client = FilesClient(join.control_url, client_context(join.ca_pem))

    def connect(take: Any, observe: Observe) -> Link:
        return LinkClient(
            join,
            key_path=directory / "agent.key",
            on_desired=take,
            on_logins=lambda message: runtime.use_logins(message.logins),
            on_welcome=client.use,
            observe=observe,
        )

    keeper = SnapshotKeeper(client, directory / "restoring")
    agent = Agent(directory, runtime, connect, metadata_url=join.metadata_url, files=keeper)
    _say_who(directory)
    work = asyncio.create_task(agent.run(), name="agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    log.info("agent starts", ship=join.ship, runtime=runtime.name, pid=os.getpid())
    telling = asyncio.create_task(_say_when_ready(agent, notifier), name="ready")
    try:
        await work
    except asyncio.CancelledError:
        notifier.say(STOPPING)
        log.info("agent ends, workspaces go on", ship=join.ship)
        # Not through the interpreter's end, which would wait for a copy or a stop that is under way in a thread: all
        # of it may be cut off at any point (as by kill -9), and the next agent takes it up.
        os._exit(0)
    finally:
        telling.cancel()
    await agent.close()


async def _say_when_ready(agent: Agent, notifier: Notifier) -> None:
    await agent.ready()
    notifier.say(READY)


def _join(directory: Path, launch: Path) -> None:
    write_join(directory / "join.json", join_of_boot(launch, str(uuid.uuid4()), _own_address))


def _own_address(control_url: str) -> str:
    """The address of this machine from which it reaches the mux; waits for a network. Nothing is sent."""
    parts = urlsplit(control_url)
    deadline = time.monotonic() + NETWORK_WAIT_S
    while True:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                asked.connect((parts.hostname, parts.port or 443))
                return str(asked.getsockname()[0])
        except OSError as error:
            if time.monotonic() >= deadline:
                raise CommandError(f"{parts.hostname}: there is no way to the mux ({error.strerror})") from error
        time.sleep(NETWORK_LOOK_S)


async def _stop_workspaces(directory: Path) -> None:
    join = _join_if_any(directory)
    runtime = make_runtime(join.runtime if join else _runtime_by_files(directory), directory, join)
    await runtime.open()
    try:
        failures = await stop_all(runtime)
    finally:
        await runtime.close()
    if failures:
        raise CommandError("; ".join(failures))


def make_runtime(name: str, directory: Path, join: Join | None = None, *, files: WayName = "sync") -> Runtime:
    """The runtime of that name on a ship's directory. Raises CommandError.

    Args:
        name: ``process`` or ``docker``.
        directory: the ship's.
        join: who the ship is; None if that is not known any more, which is enough to stop workspaces.
        files: how the files of new workspaces are kept.
    """
    if name == ProcessRuntime.name:
        if files == "overlay" and not can_mount(directory):
            raise CommandError("overlays cannot be mounted here; that needs root on Linux: use --files sync")
        address = join.address if join else LOOPBACK
        if not ipaddress.ip_address(address).is_loopback:
            raise CommandError(
                f"{address} is not of loopback, and the runtime process no security boundary: use docker"
            )
        return ProcessRuntime(directory, address=address, files=files)
    if files == "overlay":
        raise CommandError("overlays are for the runtime process: containers would not see them; use --files sync")
    if name == DockerRuntime.name:
        return DockerRuntime(
            directory,
            event=join.event if join else "",
            ship=join.ship if join else "",
            socket_path=_socket_path(),
            address=join.address if join else LOOPBACK,
            forbidden=_addresses_of(join.control_url) if join else (),
        )
    raise CommandError(f"this agent has no runtime {name!r}; it has: {ProcessRuntime.name}, {DockerRuntime.name}")


def _socket_path() -> str:
    """The Docker engine's, whether one is there or not. Raises CommandError."""
    address = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET_DEFAULT}"
    if not address.startswith("unix://"):
        raise CommandError("DOCKER_HOST is not a Unix socket; the agent needs the engine of its own machine")
    return address.removeprefix("unix://")


def _addresses_of(control_url: str) -> list[str]:
    """The mux's addresses, which no workspace is to reach. Those of this machine are out of reach anyway."""
    host = urlsplit(control_url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CommandError(f"{host}: the mux's name cannot be looked up ({error.strerror}); mend it") from error
    return sorted({str(entry[4][0]) for entry in found if not ipaddress.ip_address(entry[4][0]).is_loopback})


def _join_if_any(directory: Path) -> Join | None:
    try:
        return read_join(directory / "join.json")
    except JoinError:
        return None


def _runtime_by_files(directory: Path) -> str:
    """The runtime of a ship whose join.json cannot be read, by what lies there."""
    return DockerRuntime.name if (directory / "containers").is_dir() else ProcessRuntime.name


@contextlib.contextmanager
def _only_one(directory: Path, *, wait_s: float) -> Iterator[None]:
    """Hold the directory's lock for the life of this process. Children do not inherit it (PEP 446)."""
    path = directory / "agent.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; give the ship's directory with --dir") from error
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise CommandError(f"another ship agent runs on {directory}; stop that one first") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _say_who(directory: Path) -> None:
    """``agent.json``: which process is the agent of this directory. ``started_at`` as psutil tells it."""
    content = {"pid": os.getpid(), "started_at": psutil.Process().create_time()}
    try:
        write_json(str(directory / "agent.json"), content)
    except OSError as error:
        raise CommandError(f"{directory}: {error.strerror}; the agent needs to write there") from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ship-agent", description="Keeps one ship's workspaces as the mux wants them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "run the agent; ends at SIGTERM or SIGINT and leaves the workspaces running"),
        ("stop-workspaces", "stop every workspace and keep its files; needs no mux"),
        ("join", "write the join information of this boot"),
        ("trial", "start one workspace outside of any fleet, as standard input says; it is gone at the end of that"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--dir", type=Path, required=True, help="the ship's directory, with join.json in it")
        if name == "run":
            command.add_argument(
                "--files", choices=get_args(WayName), default="sync", help="how the files of new workspaces are kept"
            )
        if name == "join":
            command.add_argument("--launch", type=Path, required=True, help="launch.json of the machine")
    return parser.parse_args()


def _log_to_stderr() -> None:
    """JSON lines on stderr; readable ones on a terminal."""
    on_terminal = sys.stderr.isatty()
    # Tracebacks without local variables: some of those are secrets.
    console = structlog.dev.ConsoleRenderer(
        colors=not os.environ.get("NO_COLOR"), exception_formatter=structlog.dev.plain_traceback
    )
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([console] if on_terminal else [traceback, structlog.processors.JSONRenderer()]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Unbreakable(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Unbreakable(io.TextIOBase):
    """A stream that loses what it cannot write: a full disk or a reader that is gone must not end the agent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _fail(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"ship-agent: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
