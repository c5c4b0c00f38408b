"""Which runtime the demo's workspaces have: Docker where it can be had, else processes, and in either case why.

Owns the question to the engine and the building of the demo's images. Rules: what an earlier start in the same
directory had is kept; ``auto`` never fails for want of Docker; what was asked for by name is had, or refused with the
reason.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mux.child import say
from mux.supervisor import SupervisorError

Runtime = Literal["process", "docker"]
Wanted = Literal["auto", "process", "docker"]

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "images"
EXAMPLES = ("example", "example-stats")
"""The demo's images: directories below `IMAGES`, and ``mux/<name>`` in the engine."""
SOCKET_DEFAULT = "unix:///var/run/docker.sock"
ENGINE_MAX_S = 5.0
"""An engine that does not answer a ping for so long is not there."""
BUILD_MAX_S = 1800.0
"""Bound of the first build: it fetches Debian and JupyterLab, over whatever line there is."""
LINE_CHARS_MAX = 300
"""Bound of a line of the build that is shown."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WHAT = {
    "docker": "workspaces are containers",
    "process": "workspaces are child processes of this machine",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs the demo's workspaces, and why; both are told."""

    runtime: Runtime
    why: str

    def __str__(self) -> str:
        return f"{self.runtime} ({_WHAT[self.runtime]}), since {self.why}"


class UnavailableError(Exception):
    """Why Docker cannot be had, as the end of a sentence."""


def choose(wanted: Wanted, kept: Runtime | None, environ: Mapping[str, str]) -> Choice:
    """The runtime; with Docker, the demo's images are built.

    Args:
        wanted: what was asked for.
        kept: what an earlier start in the same directory had; None for none.
        environ: ``DOCKER_HOST`` is read from it, and passed on to the build.

    Raises:
        SupervisorError: what was asked for cannot be had.
    """
    if kept is not None and wanted not in ("auto", kept):
        raise SupervisorError(
            f"the demo in this directory began with the runtime {kept}, and its workspaces stay with it; give another "
            "one with --directory"
        )
    if wanted == "process" or kept == "process":
        return Choice("process", "it was asked for" if wanted == "process" else "this demo began with it")
    try:
        address = engine_address(environ)
        _build(environ)
    except UnavailableError as error:
        if wanted == "docker" or kept == "docker":
            raise SupervisorError(f"the demo cannot run on Docker: {error}") from error
        return Choice("process", str(error))
    return Choice("docker", "it was asked for" if wanted == "docker" else f"an engine answers at {address}")


def engine_address(environ: Mapping[str, str]) -> str:
    """The address of an engine that ships of this machine can use. Raises UnavailableError."""
    address = environ.get("DOCKER_HOST") or SOCKET_DEFAULT
    if not address.startswith("unix://"):
        raise UnavailableError("DOCKER_HOST is not a Unix socket, and ships need the engine of their own machine")
    connection = _UnixConnection(address.removeprefix("unix://"))
    try:
        connection.request("GET", "/_ping")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"no Docker engine answers at {address}") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise UnavailableError(f"the Docker engine at {address} answers with {status}")
    if os.geteuid() != 0:
        raise UnavailableError("only root may set the packet filter that keeps containers apart")
    for program in ("iptables", "docker"):
        if shutil.which(program, path=environ.get("PATH", SYSTEM_PATH)) is None:
            raise UnavailableError(f"{program} is not installed")
    return address


def _build(environ: Mapping[str, str]) -> None:
    """Have the demo's images in the engine; a build without a change takes a second. Raises UnavailableError."""
    program = ROOT / "tools" / "images"
    if not program.is_file():
        raise UnavailableError("the demo's images can only be built in a checkout of mux")
    say("an engine answers; building the demo's images (the first time takes a minute or two)")
    last = "no word of why"
    try:
        with subprocess.Popen(  # noqa: S603 - our own program
            [program], env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace",
        ) as build:  # fmt: skip
            too_late = threading.Timer(BUILD_MAX_S, build.kill)
            too_late.start()
            try:
                for line in build.stderr or ():
                    last = line.strip()[:LINE_CHARS_MAX] or last
                    if last.startswith("images: "):
                        say(last.removeprefix("images: "))
            finally:
                too_late.cancel()
    except OSError as error:
        raise UnavailableError(f"its images cannot be built: {error.strerror}") from error
    if build.returncode != 0:
        raise UnavailableError(f"its images cannot be built ({last.removeprefix('images: ')}); see make images")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=ENGINE_MAX_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
