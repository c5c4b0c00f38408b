"""User-data: small, secret where it must be, and a script that makes a machine a ship."""

from __future__ import annotations

import ast
import gzip
import importlib.metadata
import io
import json
import platform
import shutil
import ssl
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
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


def test_an_engine_that_is_missing_is_installed_and_what_is_locked_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(*words: str, environment: dict[str, str] | None = None) -> None:
        assert environment is not None and environment["DEBIAN_FRONTEND"] == "noninteractive"
        asked.append(" ".join(word for word in words if word in ("update", "install", "docker.io", "iptables")))
        if len(asked) <= failures:
            raise ship_stub.StubError("apt-get ended with 100; see above")

    monkeypatch.setattr(ship_stub, "run", run)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    failures = 2
    ship_stub.have_engine(tmp_path)
    assert asked == ["update", "update", "update", "install docker.io iptables"]
    assert json.loads((tmp_path / "etc/docker/daemon.json").read_text()) == {"live-restore": True}
    failures = 10**6
    with pytest.raises(ship_stub.StubError, match="ended with 100"):
        ship_stub.have_engine(tmp_path)


def test_without_agent_and_bundle_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="bake the image anew"):
        ship_stub.main(launch_of(user_data(order())), tmp_path)


class Mux:
    """Serves one answer over TLS, as the control listener does."""

    def __init__(self, directory: Path) -> None:
        self.ca = ControlCa.open(directory / "ca", datetime.now(UTC))
        self.bundle = b""
        self.busy = 0
        self.status = 200
        self.asked: list[tuple[str, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"], self.headers["Mux-Ship"]))
                status, outer.busy = (503, outer.busy - 1) if outer.busy else (outer.status, 0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(outer.bundle if status == 200 else b"")

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


def test_an_agent_of_another_version_is_replaced(tmp_path: Path, mux: Mux, bundle: AgentBundle) -> None:
    mux.bundle = bundle.path.read_bytes()
    root = tmp_path / "root"
    baked(root, version="0.0.1")
    ship_stub.main(mux.launch(bundle.sha256), root)
    assert json.loads((root / "opt/mux/bundle.json").read_text())["version"] == __version__


def test_a_bundle_that_is_not_what_was_ordered_is_not_unpacked(
    tmp_path: Path, mux: Mux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship_stub, "TRIES_MAX", 2)
    mux.bundle = b"something else"
    with pytest.raises(SystemExit, match="not what was ordered"):
        ship_stub.main(mux.launch("0" * 64), tmp_path / "root")
    assert not (tmp_path / "root/opt").exists()


def test_a_mux_of_another_authority_learns_no_token(tmp_path: Path, mux: Mux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship_stub, "TRIES_MAX", 1)
    launch = mux.launch("0" * 64) | {"ca_pem": ControlCa.open(tmp_path / "other", datetime.now(UTC)).pem}
    with pytest.raises(SystemExit, match="certificate verify failed"):
        ship_stub.main(launch, tmp_path / "root")
    assert mux.asked == []


def test_a_refusal_is_not_asked_again(tmp_path: Path, mux: Mux) -> None:
    mux.status = 403
    with pytest.raises(SystemExit, match="answers 403"):
        ship_stub.main(mux.launch("0" * 64), tmp_path / "root")
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
