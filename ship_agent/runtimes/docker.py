"""The runtime for machines with Docker: a workspace is a container, its files a directory of the ship's.

Owns tasks, locks and what is known of each workspace. What a container may is `docker_spec`'s, images `docker_images`',
networks and rules `docker_network`'s and `docker_firewall`'s, files and records `docker_records`'. Containers outlive
this object: `open` finds them by their label.

Rules: one operation at a time on one workspace, behind its lock. A record is on disk before its container runs; the
firewall's rules are in force before it runs. A stopped workspace keeps files, record and log, and no container: so
an end of the ship leaves nothing in the engine. Each start is a container of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from aiodocker.exceptions import DockerError

from ship_agent.protocol.messages import Project, RegistryLogin
from ship_agent.runtimes import docker_command, docker_spec, docker_volumes, labextension, logs
from ship_agent.runtimes import docker_records as records
from ship_agent.runtimes.base import Limits, Progress, RunningWorkspace, RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.docker_client import CALL_MAX_S, START_LOG_S, EngineClient, limits_of, store_of
from ship_agent.runtimes.docker_contents import DockerContents
from ship_agent.runtimes.docker_ends import END_LINES, EXIT_KILLED, command_missing, why_ended
from ship_agent.runtimes.docker_errors import is_command_missing, is_init_missing, is_missing, translated
from ship_agent.runtimes.docker_events import Happened, follow
from ship_agent.runtimes.docker_firewall import Firewall, has_ipv6
from ship_agent.runtimes.docker_images import DockerImages
from ship_agent.runtimes.docker_network import Egress, Networks, look_up, resolvers
from ship_agent.runtimes.docker_records import Held, Record
from ship_agent.runtimes.docker_seats import Reservation, Seats
from ship_agent.runtimes.docker_spec import LABEL_ROLE, LABEL_WORKSPACE, Place
from ship_agent.runtimes.image_config import Image
from ship_agent.runtimes.ports import check_port
from ship_agent.runtimes.shared import SharedDirectories
from ship_agent.runtimes.tasks import finish

log = structlog.get_logger(__name__)

SOCKET_DEFAULT = "/var/run/docker.sock"
REMOVE_GRACE_S = 2.0
"""What is destroyed has nothing to save: time enough to close files."""


class DockerRuntime:
    """Workspaces as containers of this machine's engine.

    Args:
        directory: the ship's directory; ``containers``, ``contents`` and ``images.json`` are made in it.
        event, ship: names, for labels.
        socket_path: the engine's Unix socket.
        address: IPv4 address of this machine that ports are published on.
        forbidden: networks that no workspace reaches: the mux's.
    """

    name = "docker"

    def __init__(
        self,
        directory: Path,
        *,
        event: str = "",
        ship: str = "",
        socket_path: str = SOCKET_DEFAULT,
        address: str = "127.0.0.1",
        forbidden: Sequence[str] = (),
    ) -> None:
        self._directory = directory.resolve()
        self._containers = self._directory / "containers"
        self.shared = SharedDirectories(self._directory / "shared")
        # Two ships on one engine (as in the demo) keep their things apart by the directory.
        self.scope = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:8]
        self.address = address
        self._event, self._ship, self._socket = event, ship, socket_path
        self._firewall = Firewall(self.scope, forbidden)
        self._engine: EngineClient
        self._images: DockerImages
        self._contents: DockerContents
        self._networks: Networks
        self._seats: Seats
        self._limits = limits_of({})
        self._held: dict[str, Held] = {}
        self._looking: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_init = True

    # --- the runtime's protocol -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find what an earlier agent left. Raises RuntimeFailure when engine, firewall or directory do not work."""
        self._engine = EngineClient(self._socket, self.scope)
        try:
            self._limits = limits_of(info := await self._engine.info())
            await self._firewall.check()
            self._images = DockerImages(self._engine.docker, self._directory / "images.json", store_of(info))
            self._contents = DockerContents(self._engine, self._directory / "contents")
            self._networks = Networks(self._engine.docker, self.scope)
            self._seats = Seats(self._networks, self._firewall, await asyncio.to_thread(resolvers))
            self._extension = await asyncio.to_thread(labextension.place, self._directory)
            await self._find()
            await self._images.open()
            await self._contents.open()
        except BaseException:
            await self._engine.close()
            raise
        self._spawn(
            follow(self._engine.docker, resync=self._resync, take=self._take, scope=self.scope), "events of containers"
        )

    async def close(self) -> None:
        """Let go without touching what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.close()

    def limits(self) -> Limits:
        """Which limits are in force for containers of this machine."""
        return self._limits

    def use_logins(self, logins: Sequence[RegistryLogin]) -> None:
        """Pull with these from now on."""
        self._images.use_logins(logins)

    async def pull(self, project: Project, digest: str, progress: Progress) -> None:
        """Take an image that the engine has, or fetch it."""
        await self._images.pull(project, digest, progress)
        self._changed.set()

    async def images(self) -> frozenset[str]:
        """Digests that are here, of those that this ship took."""
        return self._images.digests()

    async def forget_image(self, digest: str) -> None:
        """Let go of an image; one that this ship fetched is deleted."""
        await finish(self._images.forget(digest))
        await finish(self._contents.forget(digest))

    async def start(self, spec: WorkspaceSpec) -> None:
        """Start a workspace on its files. One that runs with the same specification is left alone."""
        async with self._lock(spec.id):
            held = self._held.get(spec.id)
            if held is not None and held.running:
                if held.record.run_key == spec.run_key():
                    return
                raise RuntimeFailure("files_in_use", "it still runs with another specification; stop it first")
            await finish(self._start(spec, held))
        self._changed.set()

    async def note(self, spec: WorkspaceSpec) -> None:
        """Keep epoch and receipt on disk without a restart."""
        async with self._lock(spec.id):
            held = self._held.get(spec.id)
            if held is None:
                raise RuntimeFailure("workspace_missing", "there is no such workspace; start it first")
            await finish(self._keep(held, replace(held.record, epoch=spec.epoch, receipt=spec.receipt)))
        self._changed.set()

    async def have_files(self, spec: WorkspaceSpec) -> None:
        """Have the files of a stopped workspace, at its image."""
        async with self._lock(spec.id):
            held = records.resting(self._held.get(spec.id))
            image = await self._images.get(spec.project, spec.digest, records.kept_home(held, spec.digest))
            await finish(self._contents.bring_files(spec, held.directory, image))

    async def start_over(self, spec: WorkspaceSpec, path: bytes) -> bytes | None:
        """Put the image's version of one file back, or of all."""
        async with self._lock(spec.id):
            held = records.resting(self._held.get(spec.id), may_run=bool(path))
            image = await self._images.get(spec.project, spec.digest, records.kept_home(held, spec.digest))
            return await finish(self._contents.start_over(spec, held.directory, image, path))

    async def stop(self, workspace: str, grace_s: float) -> None:
        """Stop a workspace and everything that it started. Files stay, the container goes."""
        async with self._lock(workspace):
            held = self._held.get(workspace)
            if held is not None:
                await finish(self._stop(workspace, held, grace_s))
        self._changed.set()

    async def remove(self, workspace: str) -> None:
        """Destroy a workspace and its files."""
        async with self._lock(workspace):
            held = self._held.get(workspace)
            if held is not None:
                await finish(self._remove(workspace, held))
        self._locks.pop(workspace, None)
        self._changed.set()

    async def inspect(self) -> Mapping[str, RunningWorkspace]:
        """Everything that is here, as last seen."""
        return {
            identity: records.shown(identity, held, self.shared.bound(held.record.shared))
            for identity, held in self._held.items()
        }

    async def log_tail(self, workspace: str, lines: int) -> str:
        """The last lines of a workspace's log, redacted; empty if there is none."""
        held = self._held.get(workspace)
        if held is None:
            return ""
        if held.container is None:
            text = await asyncio.to_thread(records.read_log, held.directory)
        else:
            with translated(f"the log of {workspace}"):
                text = await self._engine.log(held.container, lines)
        return logs.tail(text, lines, held.record.secrets)

    async def changes(self) -> AsyncIterator[None]:
        """Yields after exits, starts, stops and removals; several at once make one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield

    # --- start ------------------------------------------------------------------------------------------------------

    async def _start(self, spec: WorkspaceSpec, before: Held | None) -> None:
        image = await self._images.get(spec.project, spec.digest, records.kept_home(before, spec.digest))
        docker_spec.check_allowed(spec.project, image)
        program = docker_command.start_of(spec, image).program
        egress = await look_up(spec.project)
        directory = before.directory if before else self._containers / spec.id
        if before is not None:
            with translated(f"the container of {spec.id}"):
                await self._delete_container(before)
        for port in (spec.port, *spec.ports.values()):
            check_port(self.address, port)
        await self._contents.bring_files(spec, directory, image)
        shared = await asyncio.to_thread(self.shared.give, spec, directory / "home", docker_spec.SHARED_INSIDE)
        # Until its container runs, this start is not shown: an end that is none would be counted as a failed start.
        record = records.starting(spec, before.record if before else None, egress.rules, program, image.home)
        held = Held(directory, record, shared=shared)
        try:
            if "host_network" not in spec.project.allow:
                address = await self._seats.reserve(spec.id, spec.seat, egress.rules)
                held.record = replace(held.record, address=address)
            await self._keep(held, held.record)
            await self._run(spec, held, image, egress)
        except RuntimeFailure as failure:
            await self._fail_start(held, failure)
            raise
        finally:
            self._held[spec.id] = held
            if held.container is None:
                await self._seats.release(spec.id, spec.seat)
        await self._refresh(spec.id)

    async def _run(self, spec: WorkspaceSpec, held: Held, image: Image, egress: Egress) -> None:
        name = f"mux-{self.scope}-{spec.id}"
        with translated(f"the container of {spec.id}"):
            await self._engine.delete_container(name)
            for init in (True, False) if self._has_init else (False,):
                place = await self._place(spec, held, image, egress, init=init)
                held.container = name  # an engine that dies while it makes it may have it once it is back
                container = await self._engine.create(docker_spec.container(spec, image, place), name)
                held.container = container.id
                try:
                    await container.start()
                except DockerError as error:
                    await self._delete_container(held)
                    if init and is_init_missing(error):
                        self._has_init = False
                        continue
                    if not is_command_missing(error):
                        raise
                    missing = command_missing(held.record.program)
                    await self._keep(held, replace(held.record, exit_code=127, failure=missing[0], detail=missing[1]))
                    return
                break
            state = (await container.show())["State"]
        await self._keep(held, replace(held.record, began=state["StartedAt"], ended=False, failure="", detail=""))
        held.running = True
        self._watch_hooks(spec.id, held)

    async def _fail_start(self, held: Held, failure: RuntimeFailure) -> None:
        if held.container is not None and not held.running:
            with contextlib.suppress(RuntimeFailure), translated("a container that did not start"):
                await self._delete_container(held)
        ended = replace(held.record, ended=True, exit_code=126, failure=failure.code, detail=failure.detail)
        with contextlib.suppress(RuntimeFailure):
            await self._keep(held, ended)

    async def _place(self, spec: WorkspaceSpec, held: Held, image: Image, egress: Egress, *, init: bool) -> Place:
        group = (await asyncio.to_thread(Path(self._socket).stat)).st_gid
        home = held.directory / "home"
        return Place(
            scope=self.scope,
            event=self._event,
            ship=self._ship,
            home=str(home),
            listen=self.address,
            network=self._networks.name(spec.seat),
            address=held.record.address,
            hosts=egress.hosts,
            dns=egress.dns,
            socket=(self._socket, group),
            starts=held.record.starts,
            init=init,
            ipv6=has_ipv6(),
            extension=str(self._extension),
            shared=held.shared,
            volumes=await asyncio.to_thread(docker_volumes.directories, home, image.home, image.volumes),
        )

    # --- end --------------------------------------------------------------------------------------------------------

    async def _stop(self, workspace: str, held: Held, grace_s: float) -> None:
        if held.container is not None:
            with translated(f"the container of {workspace}"):
                container = self._engine.container(held.container)
                try:
                    if held.running:
                        await self._engine.hang_up(held.container, grace_s)
                        # A stop that takes longer than the grace and the engine's own ten seconds hangs.
                        async with asyncio.timeout(grace_s + CALL_MAX_S):
                            await container.stop(t=max(1, math.ceil(grace_s)))
                    code = int((await container.show())["State"]["ExitCode"])
                    text = await self._engine.log(held.container, END_LINES)
                    await asyncio.to_thread(records.save_log, held.directory, text)
                except DockerError as error:
                    if not is_missing(error):
                        raise
                    code = EXIT_KILLED
                await self._delete_container(held)
            held.running = False
            if not held.record.ended:
                held.record = replace(held.record, exit_code=code)
        # It was asked for, so it is no failure.
        await self._keep(held, replace(held.record, failure="", detail="", ended=True))
        await self._seats.release(workspace, held.record.seat)

    async def _remove(self, workspace: str, held: Held) -> None:
        await self._stop(workspace, held, REMOVE_GRACE_S)
        await asyncio.to_thread(records.delete, held.directory)
        await asyncio.to_thread(self.shared.release, workspace)
        del self._held[workspace]

    async def _delete_container(self, held: Held) -> None:
        if held.container is not None:
            await self._engine.delete_container(held.container)
            held.container = None

    # --- what happens by itself -------------------------------------------------------------------------------------

    async def _find(self) -> None:
        """Adopt containers, by their label; clear what belongs to no workspace."""
        for identity, record in (await asyncio.to_thread(records.find, self._containers)).items():
            self._held[identity] = Held(self._containers / identity, record)
        with translated("what an earlier agent left"):
            for container in await self._engine.listed():
                labels = container["Labels"]
                held = self._held.get(labels.get(LABEL_WORKSPACE, ""))
                if labels.get(LABEL_ROLE) != "workspace" or held is None:
                    await self._engine.delete_container(container["Id"])
                else:
                    held.container = container["Id"]
                    held.record = replace(held.record, home=held.record.home or records.mounted_at(container, held))
            await self._engine.clear_seeds()
        await asyncio.to_thread(self.shared.open, {name: held.record.shared for name, held in self._held.items()})
        await self._seats.open(
            {
                identity: Reservation(held.record.seat, held.record.address, held.record.egress)
                for identity, held in self._held.items()
                if held.container is not None and held.record.address
            }
        )
        for identity, held in self._held.items():
            await self._refresh(identity)
            if held.running:
                log.info("workspace adopted", workspace=identity, container=(held.container or "")[:12])
                if time.time() - held.record.started_at < START_LOG_S:
                    self._watch_hooks(identity, held)

    async def _resync(self) -> None:
        """Look at everything: after a pause of the stream of events, and before the first."""
        await self._images.refresh()
        await self._engine.clear_seeds()
        for identity in self._held:
            self._look_at(identity)
        await self._seats.refresh()
        self._changed.set()

    async def _take(self, happened: Happened) -> None:
        """One event of the engine's."""
        if happened.what == "image":
            await self._images.refresh()
            self._changed.set()
            return
        held = self._held.get(happened.workspace)
        if held is None or held.container != happened.id:
            return
        if happened.action == "oom":
            held.lost_to_memory()
            log.warning("a process of a workspace was killed for memory", workspace=happened.workspace)
        self._look_at(happened.workspace)

    def _look_at(self, workspace: str) -> None:
        """Bring a workspace up to date once nothing else is done to it; several calls make one."""
        if workspace not in self._looking:
            self._looking.add(workspace)
            self._spawn(self._look(workspace), f"look at {workspace}")

    async def _look(self, workspace: str) -> None:
        try:
            async with self._lock(workspace):
                self._looking.discard(workspace)
                await finish(self._refresh(workspace))
        except RuntimeFailure as failure:
            # An engine that is away is looked at again when it is back.
            log.warning("a workspace could not be looked at", workspace=workspace, code=failure.code)
        finally:
            self._looking.discard(workspace)

    async def _refresh(self, workspace: str) -> None:
        """Bring a workspace up to date with its container; called with its lock held. Raises RuntimeFailure."""
        held = self._held.get(workspace)
        if held is None or (held.container is None and held.record.ended):
            return
        with translated(f"the container of {workspace}"):
            state = await self._engine.state_of(held.container)
        if state is not None and state["Running"]:
            await self._seen_running(held, str(state["StartedAt"]))
        else:
            await self._seen_ended(workspace, held, state)
        self._changed.set()

    async def _seen_running(self, held: Held, began: str) -> None:
        held.running = True
        record = records.runs_since(held.record, began)
        if record != held.record:
            await self._keep(held, record)

    async def _seen_ended(self, workspace: str, held: Held, state: Mapping[str, Any] | None) -> None:
        if held.record.ended and not held.running:
            return
        if state is None:
            held.container = None
            ended = replace(held.record, exit_code=EXIT_KILLED, failure="exited", detail="its container was removed")
        else:
            code = int(state.get("ExitCode", EXIT_KILLED))
            text = ""
            with contextlib.suppress(RuntimeFailure), translated("a log"):
                text = await self._engine.log(held.container or "", END_LINES)
            failure, detail = why_ended(
                code,
                oom=code == EXIT_KILLED
                and await self._engine.killed_for_memory(state, held.container, held.just_lost_to_memory),
                bad_hook=held.bad_hook,
                program=held.record.program,
                log_text=text,
            )
            ended = replace(held.record, exit_code=max(0, min(code, 255)), failure=failure, detail=detail)
        held.running = False
        await self._keep(held, replace(ended, ended=True))
        log.info("workspace ended", workspace=workspace, code=ended.exit_code, reason=ended.failure)

    def _watch_hooks(self, workspace: str, held: Held) -> None:
        if held.container is not None:
            self._spawn(self._read_start(workspace, held, held.container), f"start of {workspace}")

    async def _read_start(self, workspace: str, held: Held, container: str) -> None:
        """Read the log of a start; end one whose hook has failed while the image goes on."""
        try:
            hook = await self._engine.failing_hook(container)
            if hook and held.container == container:
                log.warning("a hook has failed, ending the start", workspace=workspace, hook=hook)
                held.bad_hook = hook
                await self._engine.container(container).kill()
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The container has gone, or is slow to start: an end is told by its event.
            log.debug("the log of a start was not read to its end", workspace=workspace, error=type(error).__name__)

    # --- small things -----------------------------------------------------------------------------------------------

    async def _keep(self, held: Held, record: Record) -> None:
        held.record = record
        await asyncio.to_thread(record.save, held.directory)

    def _lock(self, workspace: str) -> asyncio.Lock:
        return self._locks.setdefault(workspace, asyncio.Lock())

    def _spawn(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
