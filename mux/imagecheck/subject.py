"""What an author wants to try: a directory or an image, made into a project as an event file would have it.

Owns the choice of the runtime, the build and the event file of one project. Rules: a directory with a Dockerfile is
built, as ``mux-image/<name>``, which stays in the engine; the one that it replaces goes. Any other directory is a
directory image, which is never written to.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mux.config import ConfigError, EventFile, parse, resolve_images, to_spec
from mux.control.render import project_message
from mux.demo_runtime import SYSTEM_PATH, UnavailableError, engine_address
from mux.imagecheck.errors import ImageCheckError
from ship_agent.protocol.messages import Project

Runtime = Literal["process", "docker"]

BUILT = "mux-image"
"""First part of the names of images that are built here."""
LAST_LINES = 20
"""What is shown of a build that failed."""
LINE_CHARS_MAX = 300
PORTS = 100
"""Ports that a mux for one attendee gets, beside the attendees': its other listeners', and its workspaces'."""
NAME_CHARS_MAX = 31
"""Bound of a project's name, as event files have it."""

_EVENT_FILE = """\
[event]
name = "try"
title = {title}
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = {name}
title = {title}
image = {image}
kind = {kind}
memory = {memory}
{port}{health_path}allow = {allow}
command = {command}

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = 1
seats_per_ship = 1
ready_seats = 1
ports = "{first}-{last}"
heartbeat_s = 1
heartbeat_grace_s = 10

[rollout]
max_unavailable = "100%"
monitor_s = 0
start_max_s = 90

[auth]
roster = "roster.csv"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the author says beside the image; the words of the event file.

    Args:
        runtime: None for what fits: ``docker`` for images and for directories with a Dockerfile.
        kind: ``jupyter``, ``camp`` or ``http``.
        memory: memory limit, with its unit.
        port: where its container listens; None for what its kind has.
        allow: what the container may beyond the rule.
        command: instead of JupyterLab's, or the image's own.
        health_path: what answers once it is ready; None for what its kind has.
    """

    runtime: Runtime | None = None
    kind: str = "jupyter"
    memory: str = "1GiB"
    port: int | None = None
    allow: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health_path: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried.

    Args:
        name: the project's name, from the directory's or the image's.
        title: as given.
        runtime: what runs it.
        image: as an event file names it.
        wishes: what the author said.
        source: the author's directory; None for an image by its name.
    """

    name: str
    title: str
    runtime: Runtime
    image: str
    wishes: Wishes
    source: Path | None = None

    def event_text(self, port: int) -> str:
        """An event file with this one project; ``port`` is the attendees', and the next `PORTS` are used as well."""
        wishes = self.wishes
        return _EVENT_FILE.format(
            name=json.dumps(self.name),
            title=json.dumps(self.title),
            image=json.dumps(self.image),
            kind=json.dumps(wishes.kind),
            memory=json.dumps(wishes.memory),
            port=f"port = {wishes.port}\n" if wishes.port else "",
            health_path=f"health_path = {json.dumps(wishes.health_path)}\n" if wishes.health_path is not None else "",
            allow=json.dumps(list(wishes.allow)),
            command=json.dumps(list(wishes.command)),
            runtime=self.runtime,
            public=port,
            admin=port + 1,
            control=port + 2,
            first=port + 3,
            last=port + PORTS,
        )

    async def project(self, environ: Mapping[str, str]) -> Project:
        """What a ship is told of it. Raises ImageCheckError."""
        try:
            file: EventFile = parse(self.event_text(8000), base=Path.cwd(), environ={}, files=False)
            digests = await resolve_images(file, Path.cwd(), environ)
        except ConfigError as error:
            first, *rest = (str(fault) for fault in error.faults)
            raise ImageCheckError(f"{self.title}: {first}", rest) from error
        return project_message(to_spec(file, digests).projects[0])


async def subject_of(given: str, wishes: Wishes, environ: Mapping[str, str]) -> Subject:
    """Find out what is meant; build it or have it pulled. Raises ImageCheckError.

    Args:
        given: a directory, or an image's name.
        wishes: what the author says beside it.
        environ: ``DOCKER_HOST`` and ``PATH`` are read from it, and passed on to the build.
    """
    place = await asyncio.to_thread(_look_at, given)
    if place.path is None:
        if place.is_none:
            raise ImageCheckError(f"{given}: there is no such directory; name one, or an image")
        if wishes.runtime == "process":
            raise ImageCheckError(f"{given}: there is no such directory, and the runtime process takes no other image")
        await _engine(environ, f"{given}: there is no such directory, and ")
        await _have(given, environ)
        last = given.partition("@")[0].rpartition("/")[2].partition(":")[0]
        return Subject(project_name(last), given, "docker", given, wishes)
    title = place.path.name or "image"
    name = project_name(title)
    if wishes.runtime == "process" or (wishes.runtime is None and not place.has_dockerfile):
        if not place.has_home:
            raise ImageCheckError(
                f"{given}: there is neither a Dockerfile nor a directory home/ with what attendees shall find; "
                "make one of both"
            )
        return Subject(name, title, "process", str(place.path), wishes, place.path)
    if not place.has_dockerfile:
        raise ImageCheckError(f"{given}: there is no Dockerfile to build; write one, or leave out --runtime docker")
    await _engine(environ)
    if replaced := await build(place.path, f"{BUILT}/{name}", environ):
        await forget_images([replaced], environ)
    return Subject(name, title, "docker", f"{BUILT}/{name}", wishes, place.path)


@dataclass(frozen=True, slots=True)
class _Place:
    """What is where an author points to; ``is_none``: it cannot be the name of an image either."""

    path: Path | None
    is_none: bool = False
    has_dockerfile: bool = False
    has_home: bool = False


def _look_at(given: str) -> _Place:
    path = Path(given)
    if not path.is_dir():
        return _Place(None, is_none=path.exists() or given.startswith((".", "/", "~")) or given.endswith("/"))
    return _Place(path.resolve(), has_dockerfile=(path / "Dockerfile").exists(), has_home=(path / "home").is_dir())


def project_name(text: str) -> str:
    """A name for a project, made of any text."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:NAME_CHARS_MAX].strip("-")
    return name or "image"


async def _engine(environ: Mapping[str, str], otherwise: str = "") -> None:
    """Raises ImageCheckError if there is none; ``otherwise`` is said before the reason."""
    try:
        await asyncio.to_thread(engine_address, environ)
    except UnavailableError as error:
        raise ImageCheckError(
            f"{otherwise}containers cannot be run here: {error}; a directory with home/ can be tried with "
            "--runtime process"
        ) from error


async def build(directory: Path, name: str, environ: Mapping[str, str]) -> str:
    """Build a directory's Dockerfile under a name; the id of the image that had it before, if that is another one.

    Raises ImageCheckError with the build's last lines.
    """
    before = await _image_id(name, environ)
    code, lines = await _docker(["build", "--force-rm", "--tag", name, str(directory)], environ)
    if code != 0:
        raise ImageCheckError(f"{directory}: it cannot be built; mend its Dockerfile. The build's last lines:", lines)
    return before if before != await _image_id(name, environ) else ""


async def forget_images(identities: Sequence[str], environ: Mapping[str, str]) -> None:
    """Delete images; one that somebody's container needs stays."""
    for identity in identities:
        await _docker(["image", "rm", identity], environ)


async def _have(image: str, environ: Mapping[str, str]) -> None:
    if await _image_id(image, environ):
        return
    code, lines = await _docker(["pull", image], environ)
    if code != 0:
        raise ImageCheckError(
            f"{image}: there is no such directory, the engine here has no such image, and it cannot be pulled; "
            "look at the name", lines[-1:],
        )  # fmt: skip


async def _image_id(name: str, environ: Mapping[str, str]) -> str:
    """Empty if there is none."""
    code, lines = await _docker(["image", "inspect", "--format", "{{.Id}}", name], environ)
    return lines[-1] if code == 0 and lines else ""


async def _docker(words: Sequence[str], environ: Mapping[str, str]) -> tuple[int, list[str]]:
    """One ``docker`` command: exit code and last lines. It is ended when this is cancelled."""
    program = shutil.which("docker", path=environ.get("PATH", SYSTEM_PATH)) or "docker"
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        env=dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 20,
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        rest = b""
        while piece := await process.stdout.read(64 * 1024):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-LINE_CHARS_MAX:]
            last += [text for line in lines if (text := line.decode(errors="replace").strip()[:LINE_CHARS_MAX])]
        if text := rest.decode(errors="replace").strip():
            last.append(text)
        return await process.wait(), list(last)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
