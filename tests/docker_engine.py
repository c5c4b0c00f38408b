"""A Docker engine of the tests' own, started when a test first needs it and ended with the last test that does.

Nothing of it is shared with an engine that people use: its own directories, bridge, address pool and socket. Its images
stay in `.cache/docker`, so that second runs build nothing.

A keeper process owns the engine: it starts dockerd, starts it again when a test has killed it, and ends it when nobody
holds the users' lock any longer. The kernel releases that lock for a worker that was killed, too. Several workers, and
several runs of the tests in one checkout, share one engine.

Two engines in one network namespace would take each other's firewall rules away. Where a foreign one runs, tests are
skipped; ``MUX_TEST_DOCKER=unix:///…`` lets them use it instead, if its owner agrees: containers that tests make in it
are removed by those tests alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.parts import missing, require

ROOT = Path(__file__).parents[1]
PROGRAMS = ("dockerd", "docker", "containerd", "iptables", "ip")
START_S_MAX = 60.0
"""An engine is there in two seconds; machines under load take longer."""
STOP_S_MAX = 30.0
ANSWER_S_MAX = 60.0
"""Bound of one answer of the engine to this module: to remove a network or container takes a moment."""
LOOK_S = 0.05
BRIDGE = "mux-tests0"
RUNS = Path("/run/mux-tests-")
"""How the names of run directories begin."""
OWN_NETWORKS = frozenset({"bridge", "host", "none"})
"""Every engine has them."""
POOLS = ("10.213", "10.149", "10.85", "10.21")
"""First halves of addresses that the engine may take: the first that overlaps no address of this machine."""
CONTAINERD = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{run}/containerd.sock"

[ttrpc]
address = "{run}/containerd.sock.ttrpc"
"""
REMEDY = "as root on Debian: tools/setup docker"


@dataclass(frozen=True, slots=True)
class Engine:
    """A running Docker engine.

    Args:
        socket: its Unix socket.
        run: directory with its pid file, configuration and log; None for a foreign engine.
    """

    socket: Path
    run: Path | None

    @property
    def host(self) -> str:
        """As ``DOCKER_HOST`` wants it."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Of dockerd. It is started again if it ends: see `wait_ready`."""
        if self.run is None:
            missing("a Docker engine that tests may kill", "the one of MUX_TEST_DOCKER is somebody else's")
        return int((self.run / "docker.pid").read_text())

    def ask(self, method: str, path: str) -> Any:
        """One request of the engine's API; its JSON answer. Raises OSError, also for an answer of 400 and above."""
        connection = _UnixConnection(self.socket)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: {answer.status} {body[:500]!r}")
        return json.loads(body) if answer.getheader("Content-Type", "").startswith("application/json") else body

    def answers(self) -> bool:
        """Whether it is there."""
        try:
            return bool(self.ask("GET", "/_ping") == b"OK")
        except OSError:
            return False

    def wait_ready(self) -> None:
        """Returns when it answers. Raises TimeoutError."""
        deadline = time.monotonic() + START_S_MAX
        while not self.answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the Docker engine at {self.socket} does not answer")
            time.sleep(LOOK_S)

    def run_docker(self, *words: str) -> str:
        """One ``docker`` command; its output. Fails the test when the command does."""
        environment = os.environ | {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(["docker", *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()


def left_in(engine: Engine, ships: Path) -> list[str]:
    """What ships have left in an engine and in the packet filter.

    Args:
        engine: which one; others may be using it.
        ships: directory with the ships' own directories, by which they mark what is theirs.
    """
    names = [" ".join(each["Names"]) for each in engine.ask("GET", "/containers/json?all=1")]
    names += [each["Name"] for each in engine.ask("GET", "/networks")]
    names += [each["Name"] for each in engine.ask("GET", "/volumes")["Volumes"] or []]
    for table in ("filter", "raw"):
        names += [line for line in _iptables(table, "-S") if line.startswith("-N ")]
    marks = [hashlib.sha256(os.fsencode(ship.resolve())).hexdigest()[:8] for ship in ships.iterdir()]
    assert marks, f"there are no ships in {ships}"
    return [name for name in names if any(mark in name for mark in marks)]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=ANSWER_S_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A Docker engine; skips where none can run, with the reason."""
    if given := os.environ.get("MUX_TEST_DOCKER"):
        engine = Engine(Path(given.removeprefix("unix://")), None)
        engine.wait_ready()
        yield engine
        return
    with shared_engine() as engine:
        yield engine


@contextlib.contextmanager
def shared_engine() -> Iterator[Engine]:
    """The tests' engine, for as long as this is open."""
    if sys.platform != "linux" or os.geteuid() != 0:
        missing("a Docker engine", "the tests start one of their own, which takes Linux and root")
    for program in PROGRAMS:
        require(program, REMEDY)
    run = _run_directory()
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(run / "start.lock"), contextlib.ExitStack() as user:
        # Waits here for a keeper that is just ending its engine.
        user.enter_context(_locked(run / "users.lock", shared=True))
        engine = Engine(run / "docker.sock", run)
        if not (engine.answers() and _is_kept(run)):
            _wait_for_other_checkouts(run)
            _refuse_foreign_engines(run)
            _start_keeper(engine, run)
        leaves = user.pop_all()
    with leaves:
        yield engine


def _run_directory() -> Path:
    """Short, since Unix sockets are in it: one for each checkout."""
    return Path(f"{RUNS}{hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:8]}")


@contextlib.contextmanager
def _locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    # Opened for writing, since NFS wants that for an exclusive lock; not inherited by the keeper.
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _is_kept(run: Path) -> bool:
    """Whether a keeper lives: an engine whose keeper was killed goes on, and nobody would end it."""
    with (run / "keeper.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _foreign_engines(run: Path) -> Iterator[tuple[int, str]]:
    """Other dockerds of this network namespace: pid and command line."""
    here = Path("/proc/self/ns/net").stat().st_ino
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            line = " ".join(process.cmdline())
            its = Path(f"/proc/{process.pid}/ns/net").stat().st_ino
            if process.name() == "dockerd" and its == here and str(run) not in line:
                yield process.pid, line


def _wait_for_other_checkouts(run: Path) -> None:
    """One run of the tests may follow another at once, while the engine of the one before is still ending."""
    deadline = time.monotonic() + START_S_MAX
    while any(str(RUNS) in line for _, line in _foreign_engines(run)) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _refuse_foreign_engines(run: Path) -> None:
    for pid, _ in _foreign_engines(run):
        missing(
            "a Docker engine of the tests' own",
            f"another one runs here (pid {pid}), and two take each other's firewall rules away; stop it, or set "
            "MUX_TEST_DOCKER=unix:///… to let the tests use it",
        )


def _start_keeper(engine: Engine, run: Path) -> None:
    (run / "keeper.pid").unlink(missing_ok=True)
    with (run / "keeper.log").open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.docker_engine", str(run)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S_MAX
    while not ((run / "keeper.pid").exists() and engine.answers()):
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            said = "\n".join(_tail(run / name) for name in ("keeper.log", "dockerd.log"))
            missing("a Docker engine", f"dockerd does not start here: {said}")
        time.sleep(LOOK_S)
    keeper.returncode = 0  # it outlives this process, and complains to nobody


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[-1500:]
    return ""


class Keeper:
    """Owns dockerd: see the module.

    Args:
        run: directory for what is gone with the engine.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.data = ROOT / ".cache" / "docker"
        self.engine = Engine(run / "docker.sock", run)
        self.unused = threading.Event()
        self.network = _free_network()

    def keep(self) -> None:
        """Until nobody uses the engine."""
        self.data.mkdir(parents=True, exist_ok=True)
        for name in ("dockerd.log", "containerd.log"):
            (self.run / name).unlink(missing_ok=True)
        (self.run / "daemon.json").write_text(json.dumps(self._configuration()))
        (self.run / "containerd.toml").write_text(
            CONTAINERD.format(root=self.data / "containerd", state=self.run / "containerd", run=self.run)
        )
        threading.Thread(target=self._wait_until_unused, daemon=True).start()
        firewall = _Firewall.now()
        _quietly("ip", "link", "add", "name", BRIDGE, "type", "bridge")
        _quietly("ip", "address", "add", f"{self.network}.0.1/24", "dev", BRIDGE)
        _quietly("ip", "link", "set", BRIDGE, "up")
        # One of its own, as on a ship: containers go on while dockerd is away.
        containerd = self._spawn("containerd", "--config", str(self.run / "containerd.toml"))
        try:
            self._run()
        finally:
            end(containerd)
            unmount_below(self.data, self.run)
            for name in ("exec", "containerd"):
                shutil.rmtree(self.run / name, ignore_errors=True)
            for link in _links_of_this_engine(self.network):
                _quietly("ip", "link", "delete", link)
            firewall.restore()

    def _configuration(self) -> dict[str, object]:
        return {
            "hosts": [self.engine.host],
            "data-root": str(self.data),
            "exec-root": str(self.run / "exec"),
            "pidfile": str(self.run / "docker.pid"),
            "containerd": str(self.run / "containerd.sock"),
            "bridge": BRIDGE,
            # A network for each seat: room for 512 of them.
            "default-address-pools": [{"base": f"{self.network}.128.0/17", "size": 26}],
            "live-restore": True,
            "shutdown-timeout": 5,
            "log-level": "warn",
        }

    def _run(self) -> None:
        """Start dockerd, and again whenever it ends while somebody uses it."""
        first = True
        while first or not self.unused.is_set():
            # Left by one that was killed; dockerd believes it if the pid is anybody's by now.
            (self.run / "docker.pid").unlink(missing_ok=True)
            dockerd = self._spawn("dockerd", "--config-file", str(self.run / "daemon.json"))
            if first and not self._ready(dockerd):
                raise SystemExit(1)
            if first:
                self._clear()  # what a run left whose keeper was killed
                # Only now may anybody use it: what they make would be cleared, too.
                (self.run / "keeper.pid").write_text(str(os.getpid()))
            first = False
            while dockerd.poll() is None:
                if self.unused.wait(LOOK_S):
                    self._clear()
                    end(dockerd)

    def _spawn(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.run / f"{words[0]}.log").open("ab") as output:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _ready(self, dockerd: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_S_MAX
        while dockerd.poll() is None and time.monotonic() < deadline:
            if self.engine.answers():
                return True
            time.sleep(LOOK_S)
        return False

    def _clear(self) -> None:
        """Remove every container, network and volume; images stay. With live-restore, containers would go on."""
        ask = self.engine.ask
        with contextlib.suppress(OSError):
            for container in ask("GET", "/containers/json?all=1"):
                with contextlib.suppress(OSError):
                    ask("DELETE", f"/containers/{container['Id']}?force=1&v=1")
            for network in ask("GET", "/networks"):
                if network["Name"] not in OWN_NETWORKS:
                    with contextlib.suppress(OSError):
                        ask("DELETE", f"/networks/{network['Id']}")
            # Of builds that nothing stands on any more; younger ones are the cache of the next build.
            ask("POST", f"/images/prune?filters={quote(json.dumps({'dangling': ['true'], 'until': ['24h']}))}")
            for volume in ask("GET", "/volumes")["Volumes"] or []:
                with contextlib.suppress(OSError):
                    ask("DELETE", f"/volumes/{quote(volume['Name'])}?force=1")

    def _wait_until_unused(self) -> None:
        with _locked(self.run / "users.lock"):
            self.unused.set()
            threading.Event().wait()  # held until this process has ended: who comes now waits for that


@dataclass(frozen=True, slots=True)
class _Firewall:
    """What the engine changes of the machine's packet filter, as it was before."""

    forward_policy: str
    had_docker: bool

    @classmethod
    def now(cls) -> _Firewall:
        rules = _iptables("filter", "-S")
        policy = next((line.split()[2] for line in rules if line.startswith("-P FORWARD ")), "ACCEPT")
        return cls(policy, any("DOCKER" in line for line in rules))

    def restore(self) -> None:
        """Remove the engine's chains and rules, if there were none before."""
        if self.had_docker:
            return
        for table in ("filter", "nat"):
            rules = _iptables(table, "-S")
            chains = [line.split()[1] for line in rules if line.startswith("-N DOCKER")]
            for chain in chains:
                _iptables(table, "-F", chain)
            for line in rules:
                words = line.split()
                if words[0] == "-A" and words[1] not in chains and _is_of_an_engine(words):
                    _iptables(table, "-D", *words[1:])
            for chain in chains:
                _iptables(table, "-X", chain)
        _iptables("filter", "-P", "FORWARD", self.forward_policy)


def unmount_below(*directories: Path) -> None:
    """Unmount what an engine that has ended has left mounted; without that its directories could not be deleted."""
    places = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4].encode().decode("unicode_escape")
        # dockerd mounts its directory on itself, too.
        if f"{place}/".startswith(tuple(f"{directory}/" for directory in directories)):
            places.append(place)
    for place in reversed(places):
        _quietly("umount", "--lazy", place)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process of an engine to end, and insist after a while."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S_MAX)
    process.kill()
    process.wait()


def _is_of_an_engine(words: list[str]) -> bool:
    return any(word.startswith(("DOCKER", "br-", BRIDGE)) for word in words) or "MASQUERADE" in words


def _iptables(table: str, *words: str) -> list[str]:
    done = subprocess.run(["iptables", "--wait", "--table", table, *words], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _quietly(*words: str) -> None:
    subprocess.run(words, capture_output=True, check=False)


def _free_network() -> str:
    taken = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    for pool in POOLS:
        network = ipaddress.ip_network(f"{pool}.0.0/16")
        if not any(ipaddress.ip_address(address) in network for address in taken):
            return pool
    return POOLS[0]


def _links_of_this_engine(network: str) -> list[str]:
    """Bridges that bear an address of this engine's."""
    return [
        name
        for name, addresses in psutil.net_if_addrs().items()
        if name == BRIDGE or any(address.address.startswith(f"{network}.") for address in addresses)
    ]


def _end_orphans(run: Path) -> None:
    """End the engine of a keeper that was killed; containers are adopted by the next, and cleared."""
    for name in ("dockerd", "containerd"):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == name and str(run) in " ".join(process.cmdline()):
                    process.terminate()
                    psutil.wait_procs([process], STOP_S_MAX)
                    process.kill()
    _quietly("ip", "link", "delete", BRIDGE)


def keep(run: Path) -> None:
    """The keeper's life. Its lock says that it lives."""
    with _locked(run / "keeper.lock"):
        _end_orphans(run)
        Keeper(run).keep()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
