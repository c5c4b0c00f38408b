"""Provider `local`: a ship is an agent process on this machine, with a directory of its own.

Owns ``<root>/<ship>/`` with ``machine.json`` (whose it is, what is wanted of it, its ports), ``join.json`` and
``agent.log``; the agent writes ``agent.json`` (pid and start time) there, and what else it needs. Plays the part of a
cloud for these ships, and of the systemd that restarts an agent.

Rules:
- A machine exists when its directory does: it appears and goes in one rename. A kill between any two steps leaves
  something that `open` finishes or clears.
- What is wanted is written before it is done. Agents outlive the mux and are adopted by pid and start time.
- Calls for one ship wait for each other. Directories of another event are left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import signal
import sys
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from mux.core.model import Machine, ShipId
from mux.providers import agent_process
from mux.providers.agent_process import AgentProcess
from mux.providers.base import LaunchOrder, ProviderError, Reaped
from mux.providers.local_files import (
    DISK_FULL,
    Record,
    delete_tree,
    join_for,
    read_record,
    save_record,
    sync_directory,
    translated,
    write_json,
)

log = structlog.get_logger(__name__)

STOP_S: Final = 10.0
"""How long an agent that is asked to stop may take before it is killed; it has nothing to finish, workspaces go on."""
WORKSPACES_STOP_S: Final = 90.0
"""Bound of ``stop-workspaces``, which gives every workspace its own grace."""
RESPAWN_FIRST_S: Final = 0.2
RESPAWN_MAX_S: Final = 10.0
"""Pauses before an agent that ended is started again: doubling between these two."""
RESPAWN_STEADY_S: Final = 10.0
"""An agent that ran this long was a good one: the next pause is the first again."""
LOG_CHECK_S: Final = 30.0
"""How often the bound of a running agent's log is enforced."""
HOST: Final = "127.0.0.1"
PORT_MAX: Final = 65_535

_SHIP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_T = TypeVar("_T")


class LocalProvider:
    """Ships as processes.

    Args:
        root: directory of the ships' directories; made if need be.
        event: name of the event; other events' directories are not touched.
        port_first: first port of the first ship.
        ports_per_ship: size of each ship's range.
        python: interpreter that agents run with.
        command: replaces ``python -m ship_agent.cli``; the subcommand and ``--dir DIR`` are added to it.
        watch_s: how often agents are looked at, in seconds.
    """

    name = "local"

    def __init__(
        self,
        root: Path,
        event: str,
        *,
        port_first: int = 20_000,
        ports_per_ship: int = 64,
        python: str = sys.executable,
        command: Sequence[str] | None = None,
        watch_s: float = 0.5,
    ) -> None:
        self._root = root.absolute()
        self._event = event
        self._port_first = port_first
        self._ports_per_ship = ports_per_ship
        # -P: the ship's directory, where the agent runs, is no place to import from.
        self._command = tuple(command or (python, "-P", "-m", "ship_agent.cli"))
        self._environment = agent_process.agent_environment(python, os.environ)
        self._watch_s = watch_s
        # Names of directories on their way in or out, told apart by event so that another mux's are left alone.
        digest = hashlib.sha256(event.encode()).hexdigest()[:12]
        self._new_prefix, self._gone_prefix = f".new-{digest}-", f".gone-{digest}-"
        self._locks: weakref.WeakValueDictionary[ShipId, asyncio.Lock] = weakref.WeakValueDictionary()
        self._making = asyncio.Lock()
        self._agents: dict[ShipId, AgentProcess] = {}
        self._watchers: dict[ShipId, asyncio.Task[None]] = {}
        self._starts: dict[ShipId, asyncio.Task[AgentProcess]] = {}
        self._repairs: set[asyncio.Task[None]] = set()

    # --- the provider's protocol ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Adopt agents that run, start those that should, and finish what an earlier run began."""
        records = await self._in_thread(self._clear_and_read)
        found = await self._in_thread(self._find_agents, list(records))
        self._agents.update(found)
        for ship, record in records.items():
            if record.wanted == "run":
                self._watch(ship)
            elif not record.stopped:
                finish = self.park if record.wanted == "parked" else self.terminate
                self._spawn_repair(ship, finish(ship))
        log.info("local ships found", event_name=self._event, ships=len(records), agents=len(found))

    async def launch(self, order: LaunchOrder) -> Machine:
        """Make the ship's directory and start its agent."""
        self._check(order)
        async with self._lock(order.ship):
            record = await self._in_thread(self._read, order.ship)
            if record is None:
                # One at a time: two launches must not choose the same ports.
                async with self._making:
                    record = await self._in_thread(self._make, order)
            if record.wanted == "gone":
                raise ProviderError(f"{order.ship} is being ended; launch another ship", fatal=True)
            if record.wanted == "run":
                self._watch(order.ship)
            return record.machine()

    async def start(self, order: LaunchOrder) -> None:
        """Run a parked ship's agent again, as a new boot."""
        self._check(order)
        async with self._lock(order.ship):
            record = await self._in_thread(self._read, order.ship)
            if record is None or record.wanted == "gone":
                raise ProviderError(f"{order.ship} does not exist here; launch another ship", fatal=True)
            if record.wanted == "parked":
                await self._in_thread(self._restart, order, record)
            self._watch(order.ship)

    async def park(self, ship: ShipId) -> None:
        """End agent and workspaces; the directory stays."""
        async with self._lock(ship):
            record = await self._in_thread(self._read, ship)
            if record is None or record.stopped or record.wanted == "gone":
                return
            record = replace(record, wanted="parked")
            try:
                await self._in_thread(self._save, record)
            except ProviderError:
                # Processes end all the same: on a full disk nobody may be left running by a mux that stops.
                await self._stop(ship)
                raise
            await self._stop(ship)
            await self._in_thread(self._save, replace(record, stopped=True))

    async def terminate(self, ship: ShipId) -> None:
        """End agent and workspaces, and delete the directory."""
        async with self._lock(ship):
            record = await self._in_thread(self._read, ship)
            if record is None:
                return
            if record.wanted != "gone":
                await self._in_thread(self._save_going, replace(record, wanted="gone", stopped=False))
            await self._stop(ship)
            await self._in_thread(self._remove, ship)

    async def list(self) -> Mapping[ShipId, Machine]:
        """What the directories say."""
        return {ship: record.machine() for ship, record in (await self._in_thread(self._read_all)).items()}

    async def reap(self, *, foreign: bool) -> Reaped:  # noqa: ARG002 - a directory of ships belongs to one store
        """End every ship of this event here."""
        ships = [*await self.list()]
        results = await asyncio.gather(*(self.terminate(ship) for ship in ships), return_exceptions=True)
        for result in results:  # once all have been tried
            if isinstance(result, BaseException):
                raise result
        return Reaped(machines=len(ships))

    async def close(self) -> None:
        """Stop watching. Agents go on."""
        tasks = [*self._watchers.values(), *self._repairs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._starts.values(), return_exceptions=True)
        self._watchers.clear()
        self._starts.clear()
        self._agents.clear()

    # --- agents -----------------------------------------------------------------------------------------------------

    def _watch(self, ship: ShipId) -> None:
        watcher = self._watchers.get(ship)
        if watcher is None or watcher.done():
            self._watchers[ship] = asyncio.create_task(self._keep_running(ship), name=f"agent of {ship}")

    async def _keep_running(self, ship: ShipId) -> None:
        """Start the agent whenever it does not run, as systemd's ``Restart=always`` would."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            try:
                ended = await self._run_once(ship, look=failures > 0)
            except ProviderError as error:
                ended = str(error)
            except Exception as error:
                # A defect of one look must not end the watch: nobody else would start the agent again.
                log.exception("watching an agent failed", ship=ship)
                ended = f"unexpected: {error!r}"[:500]
            if not (self._directory(ship) / "machine.json").exists():
                # Somebody deleted it: the listing says so too, and what to do about the ship is the core's to say.
                log.warning("a ship's directory is gone", ship=ship)
                await self._let_end(ship)
                return
            failures = 1 if loop.time() - started >= RESPAWN_STEADY_S else failures + 1
            pause_s = min(RESPAWN_MAX_S, RESPAWN_FIRST_S * 2.0 ** min(failures - 1, 20))
            log.warning("agent ended, starting it again", ship=ship, ended=ended, pause_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _run_once(self, ship: ShipId, *, look: bool) -> str:
        """From a running agent, or the start of one, to its end. Returns early when the directory is deleted.

        ``look``: whether there may be an agent that is not known here. One that started while the mux was killed can
        have escaped `open`; it would hold the directory's lock against every other.
        """
        directory = self._directory(ship)
        if look and ship not in self._agents:
            self._agents.update(await self._in_thread(self._find_agents, [ship]))
        agent = self._agents.get(ship)
        if agent is None:
            command = [*self._command, *self._tail(ship)]
            # Shielded and kept: a start that has begun is waited for, or the agent would run unknown.
            start = asyncio.create_task(self._start_agent(ship, command, directory), name=f"start agent of {ship}")
            self._starts[ship] = start
            agent = await asyncio.shield(start)
            log.info("agent started", ship=ship, pid=agent.pid)
        looks_per_check = max(1, round(LOG_CHECK_S / self._watch_s))
        looks = 0
        while (ended := agent.ended()) is None and (directory / "machine.json").exists():
            looks += 1
            if looks % looks_per_check == 0:
                await self._in_thread(agent_process.bound_log, directory)
            await asyncio.sleep(self._watch_s)
        if ended is not None:
            self._agents.pop(ship, None)
        return ended or "directory deleted"

    async def _start_agent(self, ship: ShipId, command: Sequence[str], directory: Path) -> AgentProcess:
        agent = await self._in_thread(agent_process.spawn, command, directory, self._environment)
        self._agents[ship] = agent
        return agent

    async def _stop(self, ship: ShipId) -> None:
        """End the agent, then its workspaces."""
        await self._end_agent(ship, unwatch=True)
        await self._stop_workspaces(ship)

    async def _end_agent(self, ship: ShipId, *, unwatch: bool = False) -> None:
        if unwatch and (watcher := self._watchers.pop(ship, None)) is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        if (start := self._starts.pop(ship, None)) is not None:
            await asyncio.gather(start, return_exceptions=True)
        agent = self._agents.get(ship)
        if agent is None:
            found = await self._in_thread(self._find_agents, [ship])
            agent = found.get(ship)
        if agent is None:
            return
        agent.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._wait_ended(agent)
        if agent.ended() is None:
            log.warning("agent did not stop when asked, killing it", ship=ship, pid=agent.pid)
            agent.signal(signal.SIGKILL)
            await self._wait_ended(agent)
        self._agents.pop(ship, None)

    async def _let_end(self, ship: ShipId) -> None:
        """End an agent whose directory was deleted: it stops its workspaces on its own, as nobody else can."""
        if (agent := self._agents.get(ship)) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(WORKSPACES_STOP_S):
                    await self._wait_ended(agent)
        await self._end_agent(ship)

    async def _wait_ended(self, agent: AgentProcess) -> None:
        while agent.ended() is None:  # noqa: ASYNC110 - another process's end has no event that every system offers
            await asyncio.sleep(min(self._watch_s, 0.05))

    async def _stop_workspaces(self, ship: ShipId) -> None:
        directory = self._directory(ship)
        try:
            with (directory / "agent.log").open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    "stop-workspaces",
                    "--dir",
                    str(directory),
                    cwd=directory,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise translated(error, directory) from error
        try:
            async with asyncio.timeout(WORKSPACES_STOP_S):
                code = await process.wait()
        except TimeoutError:
            raise ProviderError(f"{ship}: its workspaces did not stop within {WORKSPACES_STOP_S:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            raise ProviderError(f"{ship}: its workspaces did not stop (code {code}); see {directory / 'agent.log'}")

    def _find_agents(self, ships: Sequence[ShipId]) -> dict[ShipId, AgentProcess]:
        """Running agents, by what they noted on disk; failing that, by their command line."""
        found = {
            ship: agent
            for ship in ships
            if (agent := agent_process.find(self._directory(ship), self._tail(ship))) is not None
        }
        missing = {self._tail(ship): ship for ship in ships if ship not in found}
        found.update({missing[tail]: agent for tail, agent in agent_process.scan(missing).items()})
        return found

    def _tail(self, ship: ShipId) -> tuple[str, ...]:
        return ("run", "--dir", str(self._directory(ship)))

    # --- files: called in a thread ----------------------------------------------------------------------------------

    def _clear_and_read(self) -> dict[ShipId, Record]:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._root.iterdir():
            if path.name.startswith((self._new_prefix, self._gone_prefix)):
                delete_tree(path)
        return self._read_all()

    def _read_all(self) -> dict[ShipId, Record]:
        names = [path.name for path in self._root.iterdir() if not path.name.startswith(".")]
        records = {ShipId(name): read_record(self._root / name) for name in names}
        return {ship: record for ship, record in records.items() if record is not None and record.event == self._event}

    def _read(self, ship: ShipId) -> Record | None:
        """The ship's record; None when there is none, or only one of another event."""
        if not _SHIP.fullmatch(ship):
            return None
        record = read_record(self._directory(ship))
        return record if record is not None and record.event == self._event else None

    def _make(self, order: LaunchOrder) -> Record:
        directory = self._directory(order.ship)
        if directory.exists():
            raise ProviderError(
                f"{directory} is not this event's; move it away or choose another data directory", fatal=True
            )
        record = Record(self._event, order.ship, "run", HOST, self._free_ports(), self._ports_per_ship)
        temporary = self._root / f"{self._new_prefix}{order.ship}-{secrets.token_hex(4)}"
        try:
            temporary.mkdir(mode=0o700)
            write_json(temporary / "join.json", join_for(order))
            save_record(temporary, record)
            temporary.rename(directory)
            sync_directory(self._root)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return record

    def _free_ports(self) -> int:
        """First port of the lowest free range, ships of every event considered."""
        taken = [
            (record.port_first, record.port_first + record.port_count)
            for path in self._root.iterdir()
            if (record := read_record(path)) is not None
        ]
        for first in range(self._port_first, PORT_MAX + 2 - self._ports_per_ship, self._ports_per_ship):
            if all(first >= end or first + self._ports_per_ship <= begin for begin, end in taken):
                return first
        raise ProviderError("no free range of ports is left for another ship on this machine", fatal=True)

    def _restart(self, order: LaunchOrder, record: Record) -> None:
        # In this order: a kill in between leaves a parked machine, and the next start writes both again.
        write_json(self._directory(order.ship) / "join.json", join_for(order))
        self._save(replace(record, wanted="run", stopped=False))

    def _save(self, record: Record) -> None:
        save_record(self._directory(ShipId(record.ship)), record)

    def _save_going(self, record: Record) -> None:
        try:
            self._save(record)
        except OSError as error:
            # Deleting is what frees a full disk. A kill now leaves a machine that is listed and terminated again.
            if error.errno not in DISK_FULL:
                raise

    def _remove(self, ship: ShipId) -> None:
        # Renamed first: a kill in between leaves a name that `open` clears, never half a machine.
        going = self._root / f"{self._gone_prefix}{ship}-{secrets.token_hex(4)}"
        self._directory(ship).rename(going)
        sync_directory(self._root)
        delete_tree(going)

    # --- small things -----------------------------------------------------------------------------------------------

    def _directory(self, ship: ShipId) -> Path:
        return self._root / ship

    def _lock(self, ship: ShipId) -> asyncio.Lock:
        return self._locks.setdefault(ship, asyncio.Lock())

    def _check(self, order: LaunchOrder) -> None:
        if not _SHIP.fullmatch(order.ship):
            raise ProviderError(f"{order.ship!r} cannot be a ship's name", fatal=True)
        if order.event != self._event:
            raise ProviderError(f"an order of event {order.event!r}, not {self._event!r}", fatal=True)

    def _spawn_repair(self, ship: ShipId, work: Coroutine[Any, Any, None]) -> None:
        async def repair() -> None:
            try:
                await work
            except ProviderError as error:
                log.warning("cannot finish what an earlier run began", ship=ship, error=str(error))

        task = asyncio.create_task(repair(), name=f"repair {ship}")
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise translated(error, self._root) from error
