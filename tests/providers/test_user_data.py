"""User-data: small, secret where it must be, and a script that makes a machine a ship."""

from __future__ import annotations

import ast
import errno
import gzip
import importlib.metadata
import io
import json
import platform
import re
import shutil
import ssl
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import ship_agent
from mux import __version__
from mux.control.ca import ControlCa
from mux.core.model import ShipId
from mux.providers import ship_stub
from mux.providers.agent_bundle import LAUNCHER, NEEDED, UNITS, AgentBundle, agent_bundle, distributions
from mux.providers.base import LaunchOrder, ProviderError
from mux.providers.user_data import USER_DATA_BYTES_MAX, user_data
from ship_agent.join import JoinError, join_of_boot
from ship_agent.protocol import boot

TOKEN = "the-join-token-of-this-ship"


def order(**changes: str) -> LaunchOrder:
    given = {
        "event": "Data Camp",
        "control_url": "wss://127.0.0.1:8443/control",
        "ca_pem": "-----BEGIN CERTIFICATE-----\n",
        "join_token": TOKEN,
        "runtime": "docker",
    }
    return LaunchOrder(ship=ShipId("ship-0001"), **{**given, **changes})


def launch_of(content: bytes) -> dict[str, str]:
    """What the script would call `main` with."""
    called: list[dict[str, str]] = []
    script, _, last = gzip.decompress(content).decode().rstrip("\n").rpartition("\n")
    assert script.startswith("#!/usr/bin/python3")
    exec(last, {"main": called.append, "json": json})
    return called[0]


def test_it_is_a_script_with_room_to_spare_and_the_same_for_the_same_order(tmp_path: Path) -> None:
    ca = ControlCa.open(tmp_path, datetime.now(UTC))
    content = user_data(order(ca_pem=ca.pem, bundle="b" * 64))
    assert content == user_data(order(ca_pem=ca.pem, bundle="b" * 64))
    assert content[:2] == b"\x1f\x8b"
    assert len(content) < USER_DATA_BYTES_MAX / 2
    assert launch_of(content)["join_token"] == TOKEN
    compile(gzip.decompress(content), "user-data", "exec")


def test_names_of_every_kind_arrive_as_they_are() -> None:
    event = "Quotes \"'\\ and\nlines, Ünïcode {braces} %s"
    assert launch_of(user_data(order(event=event)))["event"] == event


def test_what_is_too_large_for_the_provider_is_refused_before_it_is_sent() -> None:
    import random

    noise = "".join(chr(random.Random(1).randrange(0x4E00, 0x9FFF)) for _ in range(12_000))
    noise += "".join(random.Random(2).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=24_000))
    with pytest.raises(ProviderError, match="user-data has") as refused:
        user_data(order(event=noise))
    assert refused.value.fatal
    assert TOKEN not in str(refused.value)


# --- the script on a machine ----------------------------------------------------------------------------------------


def baked(root: Path, version: str = __version__) -> None:
    """An image with an agent in it."""
    (root / "opt/mux/bin").mkdir(parents=True)
    (root / "opt/mux/bin/ship-agent").write_text(LAUNCHER)
    (root / "opt/mux/bundle.json").write_text(json.dumps({"version": version}))
    (root / "opt/mux/systemd").mkdir()
    for unit in UNITS:
        (root / "opt/mux/systemd" / unit).write_text("[Unit]\n")


def test_the_token_is_kept_for_root_alone_and_said_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    baked(tmp_path)
    launch = launch_of(user_data(order()))

    ship_stub.main(launch, tmp_path)

    kept = tmp_path / "etc/mux-ship/launch.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN in path.read_text("utf-8")]
    assert holders == [kept]
    said = capfd.readouterr()
    assert "the agent is starting" in said.out
    assert TOKEN not in said.out + said.err
    assert all((tmp_path / "etc/systemd/system" / unit).exists() for unit in UNITS)


def test_launch_json_becomes_the_join_information_of_a_boot(tmp_path: Path) -> None:
    baked(tmp_path)
    ship_stub.main(launch_of(user_data(order())), tmp_path)
    path = tmp_path / "etc/mux-ship/launch.json"

    join = join_of_boot(path, "boot-7", lambda url: "10.0.0.7")

    assert (join.ship, join.event, join.runtime, join.join_token) == ("ship-0001", "Data Camp", "docker", TOKEN)
    assert (join.boot, join.address, join.metadata_url) == ("boot-7", "10.0.0.7", "http://169.254.169.254")
    path.chmod(0o644)
    with pytest.raises(JoinError, match="chmod 600"):
        join_of_boot(path, "boot-7", lambda url: "10.0.0.7")


NO_MUX = {"control_url": "wss://127.0.0.1:9/control", "ca_pem": "", "join_token": TOKEN, "ship": "ship-0001"}


class Silent(ship_stub.Teller):
    """Remembers what would be told."""

    def __init__(self) -> None:
        super().__init__(NO_MUX)
        self.words: list[str] = []

    def say(self, doing: str, failed: bool = False) -> None:
        self.words.append(doing)


def apt(monkeypatch: pytest.MonkeyPatch, *answers: tuple[int, str]) -> list[str]:
    """A machine without engine, whose apt-get answers so, the last one for ever; what it was asked."""
    asked: list[str] = []
    left = list(answers)

    def output(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
        assert environment is not None and environment["DEBIAN_FRONTEND"] == "noninteractive"
        asked.append(" ".join(word for word in words if word in ("update", "install", "docker.io", "iptables")))
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(ship_stub, "output", output)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    return asked


def test_an_engine_that_is_missing_is_installed_and_what_is_locked_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = (100, "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n")
    asked = apt(monkeypatch, locked, locked, (0, ""))
    teller = Silent()
    ship_stub.have_engine(tmp_path, teller)
    assert asked == ["update", "update", "update", "install docker.io iptables"]
    assert json.loads((tmp_path / "etc/docker/daemon.json").read_text()) == {"live-restore": True}
    doing, why = "installing docker.io iptables", "another program on it holds apt's lock"
    assert teller.words == [doing, f"{doing}, try 2 of 10: {why}", f"{doing}, try 3 of 10: {why}"]


UNREACHABLE = "W: Failed to fetch http://deb.debian.org/debian/InRelease  Could not resolve 'deb.debian.org'\n"


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (((0, UNREACHABLE), (100, "E: Unable to locate package docker.io\n")) * 10, "cannot reach Debian's archive"),
        (((100, "E: You don't have enough free space in /var/cache/apt/archives/.\n"),), "^its disk is full"),
        (((0, ""), (100, "dpkg: error: cannot write: No space left on device\n")) * 10, "^its disk is full"),
        (((0, ""), (100, "E: Failed to fetch …  Hash Sum mismatch\n")) * 10, "not what its index says"),
        (((100, "…\nE: The list of sources could not be read.\n"),), "update ended with 100: The list of"),
        (((139, ""),), "^apt-get update ended with 139$"),
    ],
)
def test_why_an_engine_cannot_be_installed_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: tuple[tuple[int, str], ...], why: str
) -> None:
    asked = apt(monkeypatch, *answers)
    with pytest.raises(ship_stub.StubError, match=why):
        ship_stub.have_engine(tmp_path, Silent())
    assert asked.count("update") == ship_stub.APT_TRIES_MAX


def test_a_machine_of_another_kind_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = apt(monkeypatch, (0, ""))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ship_stub.StubError, match="use one of Debian, or one that has Docker"):
        ship_stub.have_engine(tmp_path, Silent())
    assert asked == []


def test_an_installation_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = apt(monkeypatch, (100, UNREACHABLE))
    monkeypatch.setattr(ship_stub, "APT_S_MAX", -1.0)
    with pytest.raises(ship_stub.StubError, match="cannot reach"):
        ship_stub.have_engine(tmp_path, Silent())
    assert asked == ["update"]


def test_a_programs_output_is_on_the_console_and_its_end_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = ship_stub.output("sh", "-c", "seq 1000; echo why >&2; exit 3")
    assert (code, said.splitlines()[-2:], len(said.splitlines())) == (3, ["1000", "why"], ship_stub.LINES_KEPT)
    assert len(capfd.readouterr().out.splitlines()) == 1001
    with pytest.raises(ship_stub.StubError, match=r"^sh -c .* ended with 4: last$"):
        ship_stub.run("sh", "-c", "echo first; echo last; exit 4")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/opt/mux.new/lib/x"), "^its disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/opt"), "^PermissionError: Permission denied$"),
        (KeyError("bundle"), "^KeyError: 'bundle'$"),
    ],
)
def test_a_failure_of_any_kind_is_one_line_that_is_the_same_everywhere(error: Exception, why: str) -> None:
    assert re.search(why, ship_stub.reason(error))


GiveUp = Callable[[dict[str, str], Path], str]


@pytest.fixture
def given_up(capfd: pytest.CaptureFixture[str]) -> GiveUp:
    """Runs the script on a machine that does not become a ship; what it says on the console."""

    def run(launch: dict[str, str], root: Path) -> str:
        with pytest.raises(SystemExit) as ended:
            ship_stub.main(launch, root)
        assert ended.value.code == 1
        said = capfd.readouterr().err
        assert said.startswith("mux-ship: this machine does not become a ship: ")
        assert "Traceback" not in said
        return said

    return run


def test_without_agent_and_bundle_it_says_what_to_do(tmp_path: Path, given_up: GiveUp) -> None:
    assert "bake the image anew" in given_up(launch_of(user_data(order())), tmp_path)


class Mux:
    """Serves one answer over TLS, as the control listener does."""

    def __init__(self, directory: Path) -> None:
        self.ca = ControlCa.open(directory / "ca", datetime.now(UTC))
        self.bundle = b""
        self.busy = 0
        self.status = 200
        self.asked: list[tuple[str, str, str]] = []
        self.words: list[dict[str, object]] = []
        self.deaf = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"], self.headers["Mux-Ship"]))
                status, outer.busy = (503, outer.busy - 1) if outer.busy else (outer.status, 0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(outer.bundle if status == 200 else b"")

            def do_PUT(self) -> None:
                assert (self.path, self.headers["Mux-Ship"]) == (boot.PATH, "ship-0001")
                assert self.headers["Authorization"] == f"Bearer {TOKEN}"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                word = boot.BootWord.model_validate_json(body)
                outer.deaf -= 1
                if outer.deaf < 0:
                    outer.words.append(word.model_dump())
                self.send_response(503 if outer.deaf >= 0 else 204)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        context: ssl.SSLContext = self.ca.issue(["127.0.0.1"], datetime.now(UTC)).context
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def launch(self, bundle: str) -> dict[str, str]:
        url = f"wss://127.0.0.1:{self.server.server_port}/control"
        return launch_of(user_data(order(control_url=url, ca_pem=self.ca.pem, bundle=bundle)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> AgentBundle:
    return agent_bundle(tmp_path_factory.mktemp("bundle") / "agent")


@pytest.fixture
def mux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mux]:
    monkeypatch.setattr(ship_stub, "PAUSE_MAX_S", 0.0)
    monkeypatch.setattr(ship_stub, "TELL_EVERY_S", 0.01)
    monkeypatch.setattr(ship_stub, "START_TOLD_S_MAX", 120.0)
    serving = Mux(tmp_path)
    yield serving
    serving.server.shutdown()
    serving.server.server_close()


def test_an_image_without_agent_fetches_the_muxs_own_and_it_runs(tmp_path: Path, mux: Mux, bundle: AgentBundle) -> None:
    mux.bundle, mux.busy = bundle.path.read_bytes(), 2
    root = tmp_path / "root"

    ship_stub.main(mux.launch(bundle.sha256), root)

    assert mux.asked == [(f"/ship/bundle/{bundle.sha256}", f"Bearer {TOKEN}", "ship-0001")] * 3
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ship_agent.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program, root / "opt/mux/lib", "run", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--dir" in done.stdout
    assert stat.S_IMODE((root / "opt/mux/bin/ship-agent").stat().st_mode) == 0o755
    assert not list((root / "var/tmp").iterdir())
    assert mux.words[-1] == {"doing": "the agent is starting; see journalctl -u mux-ship", "failed": False}


def test_an_agent_of_another_version_is_replaced(tmp_path: Path, mux: Mux, bundle: AgentBundle) -> None:
    mux.bundle = bundle.path.read_bytes()
    root = tmp_path / "root"
    baked(root, version="0.0.1")
    ship_stub.main(mux.launch(bundle.sha256), root)
    assert json.loads((root / "opt/mux/bundle.json").read_text())["version"] == __version__


def test_a_bundle_that_is_not_what_was_ordered_is_not_unpacked_and_the_mux_hears_of_it(
    tmp_path: Path, mux: Mux, given_up: GiveUp
) -> None:
    mux.bundle, mux.deaf = b"something else", 2
    assert "not what was ordered" in given_up(mux.launch("0" * 64), tmp_path / "root")
    assert len(mux.asked) == ship_stub.WRONG_MAX
    why = "the agent's bundle cannot be had: it is not what was ordered"
    assert mux.words[-1] == {"doing": why, "failed": True}, "told again until the mux heard it"
    assert not (tmp_path / "root/opt").exists()


def test_a_mux_of_another_authority_learns_no_token(
    tmp_path: Path, mux: Mux, monkeypatch: pytest.MonkeyPatch, given_up: GiveUp
) -> None:
    monkeypatch.setattr(ship_stub, "TRIES_MAX", 1)
    launch = mux.launch("0" * 64) | {"ca_pem": ControlCa.open(tmp_path / "other", datetime.now(UTC)).pem}
    assert "certificate verify failed" in given_up(launch, tmp_path / "root")
    assert (mux.asked, mux.words) == ([], [])


def test_a_refusal_is_not_asked_again(tmp_path: Path, mux: Mux, given_up: GiveUp) -> None:
    mux.status = 403
    assert "answers 403" in given_up(mux.launch("0" * 64), tmp_path / "root")
    assert len(mux.asked) == 1


@pytest.mark.parametrize(("name", "value"), [("python", "2.7"), ("machine", "vax")])
def test_a_bundle_for_another_machine_is_refused(tmp_path: Path, name: str, value: str) -> None:
    said = {"python": ".".join(platform.python_version_tuple()[:2]), "machine": platform.machine(), name: value}
    content = json.dumps(said).encode()
    with tarfile.open(tmp_path / "bundle", "w:gz") as archive:
        member = tarfile.TarInfo("bundle.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ship_stub.StubError, match=f"{name} {value}"):
        ship_stub.unpack(tmp_path / "bundle", tmp_path / "root")
    assert not (tmp_path / "root/opt/mux").exists()


# --- the bundle -----------------------------------------------------------------------------------------------------


def test_the_bundle_has_every_package_that_the_agent_imports() -> None:
    package = Path(ship_agent.__file__).parent
    modules = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    of = importlib.metadata.packages_distributions()
    needed = {name for module in modules - sys.stdlib_module_names - {"ship_agent"} for name in of[module]}
    assert needed == set(NEEDED)
    assert needed <= set(distributions())


def test_the_bundle_is_built_once_and_again_when_it_is_damaged(bundle: AgentBundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path.parent, tmp_path / "agent")
    first = agent_bundle(tmp_path / "agent")
    assert first.sha256 == bundle.sha256
    made_at = first.path.stat().st_mtime_ns
    assert agent_bundle(tmp_path / "agent") == first
    assert first.path.stat().st_mtime_ns == made_at
    first.path.write_bytes(b"half")
    assert agent_bundle(tmp_path / "agent") == first
    assert sorted(path.name for path in first.path.parent.iterdir()) == sorted([first.path.name, "bundle.json"])
