"""What is measured, and what stands behind it: processes, each on the core that it is given.

A target is one proxy in front of one upstream. The upstream (nginx for HTTP, a raw echo for WebSockets) and the load
share the other core, so a target that needs less of its own core is the faster one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority

READY_S_MAX = 20.0
BODY_BYTES = 64 << 20
TICKS = os.sysconf("SC_CLK_TCK")

UPSTREAM_CONF = """user root; worker_processes 1; daemon off; pid {dir}/upstream.pid; error_log {dir}/upstream.err;
events {{ worker_connections 20000; }}
http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0; default_type text/plain;
client_body_temp_path {dir}/ub; proxy_temp_path {dir}/up; fastcgi_temp_path {dir}/uf; uwsgi_temp_path {dir}/uu;
scgi_temp_path {dir}/us; sendfile on;
server {{ listen 127.0.0.1:{port} backlog=8192 reuseport; root {dir}/files;
location /small {{ return 200 "{small}"; }} location /chunked {{ ssi on; ssi_types text/plain; }} }} }}
"""
PROXY_CONF = """user root; worker_processes 1; worker_rlimit_nofile 60000; daemon off;
pid {dir}/{name}.pid; error_log {dir}/{name}.err;
events {{ worker_connections 30000; }}
http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0; {extra}
client_body_temp_path {dir}/{name}b; proxy_temp_path {dir}/{name}p; fastcgi_temp_path {dir}/{name}f;
uwsgi_temp_path {dir}/{name}u; scgi_temp_path {dir}/{name}s;
map $http_upgrade $connection_up {{ default upgrade; '' ''; }}
upstream web {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 1000000000; }}
upstream echo {{ server 127.0.0.1:{echo}; keepalive 16; }}
server {{ listen 127.0.0.1:{port} {tls};
proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection $connection_up;
proxy_set_header Upgrade $http_upgrade; proxy_set_header X-Forwarded-For $remote_addr; proxy_read_timeout 3600;
location /camp/intro/echo {{ proxy_pass http://echo; }} location / {{ proxy_pass http://web; }} }} }}
"""
LARGE_BUFFERS = (
    "proxy_buffer_size 256k; proxy_buffers 8 256k; proxy_busy_buffers_size 512k; "
    "proxy_request_buffering off; proxy_max_temp_file_size 0;"
)
HAPROXY_CONF = """global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  option http-keep-alive
  http-reuse always
frontend all
  bind 127.0.0.1:{port} {tls}
  option forwardfor
  use_backend echo if {{ path_beg /camp/intro/echo }}
  default_backend web
backend web
  server web 127.0.0.1:{upstream} pool-max-conn -1
backend echo
  server echo 127.0.0.1:{echo}
"""
CADDYFILE = """{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy /camp/intro/echo* 127.0.0.1:{echo}
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 4096
    }}
  }}
}}
"""


@dataclass
class Target:
    """One proxy that runs.

    Args:
        name: in tables.
        port: on loopback.
        process: what was started; its children count with it. None for no proxy at all.
        tls: whether it is spoken to over TLS.
        behind: what answers it; the children count with these.
    """

    name: str
    port: int
    process: subprocess.Popen[bytes] | None
    tls: bool = False
    behind: tuple[subprocess.Popen[bytes], ...] = ()

    @property
    def origin(self) -> str:
        """Its address, as a browser writes it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def tunnels(self) -> bool:
        """Whether it is asked for WebSockets."""
        return self.process is not None and self.name not in SLOW

    def pids(self) -> list[int]:
        """Of its process and its children."""
        return [] if self.process is None else _family(self.process)

    def cpu_s(self) -> float:
        """Processor time of its processes so far, user and system."""
        return _cpu_s(self.pids())

    def behind_s(self) -> float:
        """The same of what answers it."""
        return _cpu_s([pid for process in self.behind for pid in _family(process)])

    def memory_bytes(self) -> int:
        """Resident memory of its processes that is theirs alone."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1]) * 1024
        return total


def _family(process: subprocess.Popen[bytes]) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [process.pid, *map(int, children.read_text().split())]


def _cpu_s(pids: list[int]) -> float:
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
        self._processes: list[subprocess.Popen[bytes]] = []
        self.upstream, self.echo = free_port(), free_port()
        self.behind: tuple[subprocess.Popen[bytes], ...] = ()
        self.certificate = directory / "certificate.pem"
        issued = Authority().issue("127.0.0.1")
        self.certificate.write_bytes(issued.key + issued.chain)

    def start(self, name: str, port: int, core: int, *words: str) -> subprocess.Popen[bytes]:
        """Start a program on a core, and wait until it listens."""
        log = (self.directory / f"{name}.log").open("wb")
        process = subprocess.Popen(["taskset", "-c", str(core), *words], stdout=log, stderr=log)
        self._processes.append(process)
        deadline = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return process
            time.sleep(0.05)
        raise SystemExit(f"{name} does not listen: {(self.directory / f'{name}.log').read_text()[-500:]}")

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
        text = UPSTREAM_CONF.format(dir=self.directory, port=self.upstream, small="x" * 200)
        conf.write_text(
            text.replace("location /small", "location /camp/intro/small").replace(
                "location /chunked", "location /camp/intro/chunked"
            )
        )
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
        """Start every target that is installed; the direct way first."""
        for name in NAMES:
            if (not only or name in only) and (words := self._words(name, port := free_port())):
                process = self.start(_plain(name), port, self.target_core, *words)
                yield Target(name, port, process, name.endswith(TLS), self.behind)

    def _words(self, name: str, port: int) -> list[str] | None:
        values = {
            "dir": self.directory,
            "port": port,
            "upstream": self.upstream,
            "echo": self.echo,
            "name": _plain(name),
        }
        tls = name.endswith(TLS)
        file = self.directory / f"{values['name']}.conf"
        if name.startswith("mux"):
            file.write_text(json.dumps(self.mux_routes(port, tls=tls)))
            words = [sys.executable, "-m", "mux.proxy", "--static", str(file), "--listen", f"127.0.0.1:{port}"]
            return [*words, "--no-memo", "--no-splice"] if name == STRICT else words
        if name.startswith("nginx"):
            how = f"ssl; ssl_certificate {self.certificate}; ssl_certificate_key {self.certificate}"
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
        if name == "configurable-http-proxy":
            program = shutil.which("configurable-http-proxy", path=f"{HTTP_PROXY}:{os.environ['PATH']}")
            target = f"http://127.0.0.1:{self.upstream}"
            api = str(free_port())
            words = [
                "--ip",
                "127.0.0.1",
                "--port",
                str(port),
                "--api-port",
                api,
                "--default-target",
                target,
                "--log-level",
                "error",
            ]
            return [program, *words] if program else None
        return [sys.executable, "-m", "bench.proxy.plain_aiohttp", str(port), str(self.upstream)]

    def mux_routes(self, port: int, *, tls: bool) -> dict[str, object]:
        """Routes with sessions, so that everything that an event has is on."""
        user = {"user": "a", "token": "of-the-workspace"}
        web = {**user, "project": "intro", "upstream": f"127.0.0.1:{self.upstream}"}
        echo = {**user, "project": "echo", "upstream": f"127.0.0.1:{self.echo}"}
        sessions = [{"token": SESSION, "user": "a"}]
        scheme, more = ("https", {"certificate": str(self.certificate)}) if tls else ("http", {})
        return {"sessions": sessions, "origin": f"{scheme}://127.0.0.1:{port}", "routes": [web, echo], **more}


SESSION = "5mYQmRPzXo0Hc3bqkbyk3vNfnlFxD6mRrZyfY3c0n3Q"
STRICT = "mux, no memo, no splice"
TLS = ", TLS"
SLOW = (STRICT, "Caddy", "configurable-http-proxy", "aiohttp")
"""Measured once: they are far from the others, and their rows are many."""
NAMES = ("mux", "nginx", "nginx 256k", "HAProxy", *SLOW, "mux" + TLS, "nginx" + TLS, "HAProxy" + TLS)
HTTP_PROXY = Path(__file__).parents[2] / ".tools" / "npm" / "node_modules" / ".bin"
"""Where ``make bench-proxy`` puts configurable-http-proxy."""


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
    try:
        made.upstreams()
        yield made
    finally:
        made.stop()
