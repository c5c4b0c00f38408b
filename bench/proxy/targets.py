"""What is measured, and what stands behind it: processes, each on the core that it is given.

A target is one proxy in front of one upstream. The upstream (nginx for HTTP, a raw echo for WebSockets) and the load
share the other core, so a target that needs less of its own core is the faster one.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.proxy.configurations import CADDYFILE, HAPROXY_CONF, LARGE_BUFFERS, NGINX_TLS, PROXY_CONF, UPSTREAM_CONF
from tests.certificates import Authority

ATTENDEES = 16
"""Who holds the WebSockets together: one alone may not hold thousands."""
SESSIONS = tuple(hashlib.sha256(b"bench %d" % number).hexdigest()[:43] for number in range(ATTENDEES))
SESSION = SESSIONS[0]
STRICT = "mux, no memo, no splice"
CHP = "configurable-http-proxy"
TLS = ", TLS"
DIRECT = "direct"
SLOW = (STRICT, "Caddy", CHP, "aiohttp")
"""Measured once: they are for comparison, and their rows are many."""
NAMES = ("mux", "nginx", "nginx 256k", "HAProxy", *SLOW, "mux" + TLS, "nginx" + TLS, "HAProxy" + TLS)
HTTP_PROXY = Path(__file__).parents[2] / ".tools" / "npm" / "node_modules" / ".bin"
"""Where ``make bench-proxy`` puts configurable-http-proxy."""
READY_S_MAX = 20.0
BODY_BYTES = 64 << 20
TICKS = os.sysconf("SC_CLK_TCK")
BACKLOG = 8192
QUEUE = Path("/proc/sys/net/core/netdev_max_backlog")
QUEUE_PACKETS = 16384
"""As the other targets have."""

_Process = subprocess.Popen[bytes]


@dataclass
class Target:
    """One proxy that runs.

    Args:
        name: in tables.
        port: on loopback.
        process: what was started; its children count with it. None for no proxy at all.
        tls: whether it is spoken to over TLS.
        behind: what answers it, and what feeds it; the children count with these.
        echo_port: where WebSockets and uploads go if not to ``port``: without a proxy others answer them.
    """

    name: str
    port: int
    process: _Process | None
    tls: bool = False
    behind: tuple[_Process, ...] = ()
    echo_port: int | None = None

    @property
    def origin(self) -> str:
        """Its address, as a browser writes it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def echo(self) -> str:
        """Where its WebSockets and uploads are answered, as a browser writes it."""
        port = self.echo_port or self.port
        path = "/camp/echo/ws" if self.name.startswith("mux") else "/camp/intro/echo"
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{port}{path}"

    @property
    def once(self) -> bool:
        """Whether one sample of each row is enough."""
        return self.process is None or self.name in SLOW

    @property
    def reframes(self) -> bool:
        """Whether frames of WebSockets are taken apart and made anew on the way, so that they come back unmasked."""
        return self.name == "aiohttp"

    def pids(self) -> list[int]:
        """Of its process and its children."""
        return [] if self.process is None else _family(self.process)

    def cpu_s(self) -> float:
        """Processor time of its processes so far, user and system."""
        return cpu_s(self.pids())

    def behind_s(self) -> float:
        """The same of what answers it."""
        return cpu_s([pid for process in self.behind for pid in _family(process)])

    def memory_bytes(self) -> int:
        """Resident memory of its processes that is theirs alone."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1]) * 1024
        return total


def _family(process: _Process) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [process.pid, *map(int, children.read_text().split())]


def cpu_s(pids: list[int]) -> float:
    """Processor time of processes so far, user and system."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Stage:
    """Starts processes and ends them.

    Args:
        directory: for their files.
        target_core: of the proxies.
        load_core: of upstreams and load.
    """

    def __init__(self, directory: Path, target_core: int, load_core: int) -> None:
        self.directory = directory
        self.target_core = target_core
        self.load_core = load_core
        self._processes: list[_Process] = []
        self._api_port = free_port()
        self.upstream, self.upstream_tls, self.echo = free_port(), free_port(), free_port()
        self.behind: tuple[_Process, ...] = ()
        self.certificate = directory / "certificate.pem"
        issued = Authority().issue("127.0.0.1")
        self.certificate.write_bytes(issued.key + issued.chain)

    def start(self, name: str, port: int, core: int, *words: str) -> _Process:
        """Start a program on a core, and wait until it listens."""
        process = self.launch(name, core, *words)
        deadline = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return process
            time.sleep(0.05)
        raise SystemExit(f"{name} does not listen: {self._said(name)}")

    def launch(self, name: str, core: int, *words: str, kept: tuple[int, ...] = ()) -> _Process:
        """Start a program on a core. It inherits the descriptors that are ``kept``."""
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(["taskset", "-c", str(core), *words], stdout=log, stderr=log, pass_fds=kept)
        self._processes.append(process)
        return process

    def _said(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()[-500:]

    def upstreams(self) -> None:
        """Start what stands behind all targets."""
        files = self.directory / "files"
        for folder in (files / "chunked", files / "body"):
            folder.mkdir(parents=True)
        (files / "chunked" / "2k").write_text("x" * 2048)
        (files / "2k").write_text("x" * 2048)
        (files / "body" / "64m").write_bytes(bytes(BODY_BYTES))
        camp = files / "camp"
        camp.mkdir()
        (camp / "intro").symlink_to(files)
        conf = self.directory / "upstream.conf"
        values = {"port": self.upstream, "tls_port": self.upstream_tls, "certificate": self.certificate}
        conf.write_text(UPSTREAM_CONF.format(dir=self.directory, small="x" * 200, **values))
        web = self.start("upstream", self.upstream, self.load_core, "nginx", "-c", str(conf))
        echo = self.start(
            "echo", self.echo, self.load_core, sys.executable, "-m", "bench.proxy.sockets", "serve", str(self.echo)
        )
        self.behind = (web, echo)

    def stop(self) -> None:
        """End everything that was started."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def targets(self, only: set[str]) -> Iterator[Target]:
        """Start every target that is installed; what answers without any proxy comes first."""
        yield Target(DIRECT, self.upstream, None, behind=self.behind, echo_port=self.echo)
        yield Target(DIRECT + TLS, self.upstream_tls, None, tls=True, behind=self.behind)
        for name in NAMES:
            if only and name not in only:
                continue
            port, tls = free_port(), name.endswith(TLS)
            if name.startswith("mux"):
                yield self._fed(name, port, tls=tls)
            elif words := self._words(name, port):
                process = self.start(_plain(name), port, self.target_core, *words)
                if name == CHP:
                    self._add_route()
                yield Target(name, port, process, tls, self.behind)

    def _fed(self, name: str, port: int, *, tls: bool) -> Target:
        """mux as it serves an event: a worker with a feed, which counts for somebody."""
        plain = _plain(name)
        feed = str(self.directory / f"{plain}.feed")
        origin = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        words = [sys.executable, "-m", "bench.proxy.feeder", feed, origin, str(self.upstream), str(self.echo)]
        feeder = self._ready(f"{plain}-feeder", self.load_core, words)
        with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
            number = listener.fileno()
            words = [sys.executable, "-m", "mux.proxy", f"--listen-fd={number}", f"--feed={feed}", f"--web={feed}.web"]
            words += [f"--certificate={self.certificate}"] if tls else []
            words += ["--no-memo", "--no-splice"] if name == STRICT else []
            process = self._ready(plain, self.target_core, words, number)
        return Target(name, port, process, tls, (*self.behind, feeder))

    def _ready(self, name: str, core: int, words: list[str], *kept: int) -> _Process:
        """Start a program that tells a pipe when it serves, and wait for that."""
        mine, its = os.pipe()
        try:
            process = self.launch(name, core, *words, f"--ready-fd={its}", kept=(its, *kept))
        finally:
            os.close(its)
        with os.fdopen(mine, "rb") as pipe:
            if not select.select([pipe], [], [], READY_S_MAX)[0] or not pipe.read(1):
                raise SystemExit(f"{name} does not serve: {self._said(name)}")
        return process

    def _add_route(self) -> None:
        """configurable-http-proxy is told of its second route over its API."""
        body = json.dumps({"target": f"http://127.0.0.1:{self.echo}"}).encode()
        address = f"http://127.0.0.1:{self._api_port}/api/routes/camp/intro/echo"
        with urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=READY_S_MAX):
            pass

    def _words(self, name: str, port: int) -> list[str] | None:
        """How a target is started, its file written; None where it is not installed."""
        values = {
            "dir": self.directory,
            "port": port,
            "upstream": self.upstream,
            "echo": self.echo,
            "name": _plain(name),
        }
        tls = name.endswith(TLS)
        file = self.directory / f"{values['name']}.conf"
        if name.startswith("nginx"):
            how = f"ssl; ssl_certificate {self.certificate}; ssl_certificate_key {self.certificate}; {NGINX_TLS}"
            values["tls"] = how if tls else "backlog=8192"
            file.write_text(PROXY_CONF.format(extra=LARGE_BUFFERS if "256" in name else "", **values))
            return ["nginx", "-c", str(file)] if shutil.which("nginx") else None
        if name.startswith("HAProxy"):
            values["tls"] = f"ssl crt {self.certificate}" if tls else "backlog 8192"
            file.write_text(HAPROXY_CONF.format(**values))
            return ["haproxy", "-f", str(file), "-db"] if shutil.which("haproxy") else None
        if name == "Caddy":
            file.write_text(CADDYFILE.format(**values))
            return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"] if shutil.which("caddy") else None
        if name == CHP:
            return self._chp_words(port)
        return [sys.executable, "-m", "bench.proxy.plain_aiohttp", str(port), str(self.upstream), str(self.echo)]

    def _chp_words(self, port: int) -> list[str] | None:
        program = shutil.which("configurable-http-proxy", path=f"{HTTP_PROXY}:{os.environ['PATH']}")
        if program is None:
            return None
        words = ["--ip", "127.0.0.1", "--port", str(port), "--api-port", str(self._api_port)]
        words += ["--default-target", f"http://127.0.0.1:{self.upstream}", "--log-level", "error"]
        return [program, *words]


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _plain(name: str) -> str:
    """A target's name as part of a file's."""
    return name.replace(",", "").replace(" ", "-")


@contextmanager
def stage(directory: Path, target_core: int, load_core: int) -> Iterator[Stage]:
    """A stage with its upstreams, all of it ended afterwards."""
    made = Stage(directory, target_core, load_core)
    with _long_queue():
        try:
            made.upstreams()
            yield made
        finally:
            made.stop()


@contextmanager
def _long_queue() -> Iterator[None]:
    """Let loopback queue what 2,000 connections send at once, where this may be set.

    Linux drops what is beyond its queue, and whoever's packet that was waits for a second; no proxy is meant.
    """
    before = QUEUE.read_text() if os.access(QUEUE, os.W_OK) else ""
    if before and int(before) < QUEUE_PACKETS:
        QUEUE.write_text(str(QUEUE_PACKETS))
    try:
        yield
    finally:
        if before:
            QUEUE.write_text(before)
