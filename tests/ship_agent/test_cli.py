"""``ship-agent`` as a program: one for each directory, killed in every way, its workspaces alive."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil
import pytest

from mux.control.ca import ControlCa
from ship_agent.cli import CommandError, make_runtime
from ship_agent.join import Join, write_join
from ship_agent.protocol.messages import Desired, Workspace
from tests.ship_agent.conftest import Ship
from tests.ship_agent.images import free_port

COMMAND = [sys.executable, "-m", "ship_agent.cli"]


class Machine:
    """A ship's directory with join information, agents as processes on it, and no mux that answers."""

    def __init__(self, root: Path, ship: Ship) -> None:
        self.ship = ship
        self.directory = ship.directory
        self.agents: list[subprocess.Popen[str]] = []
        (self.directory / "join.json").unlink()
        write_join(
            self.directory / "join.json",
            Join(
                ship="ship-0001",
                event="test",
                control_url=f"wss://127.0.0.1:{free_port()}/control",
                ca_pem=ControlCa.open(root / "ca", datetime.now(UTC)).pem,
                join_token="join-token",
                runtime="process",
                boot="boot-1",
            ),
        )

    def desire(self) -> Workspace:
        """Put a desired state with one workspace on disk, as an earlier agent would have left it."""
        project = self.ship.project()
        workspace = self.ship.workspace(project, wanted="bound", epoch=1)
        content = Desired(generation=1, projects=[project], workspaces=[workspace]).model_dump_json()
        (self.directory / "desired.json").write_text(content)
        return workspace

    def start(self) -> subprocess.Popen[str]:
        agent = subprocess.Popen(
            [*COMMAND, "run", "--dir", str(self.directory)], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.agents.append(agent)
        return agent

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, command, "--dir", str(self.directory)], capture_output=True, text=True, timeout=60, check=False
        )

    def until_ready(self, agent: subprocess.Popen[str]) -> None:
        """Wait until an agent has said who it is."""
        while _agent_pid(self.directory) != agent.pid:
            assert agent.poll() is None, agent.communicate()[1]
            time.sleep(0.02)


def _agent_pid(directory: Path) -> int:
    try:
        return int(json.loads((directory / "agent.json").read_text())["pid"])
    except FileNotFoundError:
        return 0


def server_pid(workspace: Workspace, other_than: int = 0) -> int:
    """Wait until a workspace answers; the pid of its server."""
    request = Request(
        f"http://127.0.0.1:{workspace.port}/camp/intro/api", headers={"Authorization": f"token {workspace.token}"}
    )
    for _ in range(1500):
        try:
            with urlopen(request) as answer:
                pid = int(json.load(answer)["pid"])
                if pid != other_than:
                    return pid
        except (URLError, ConnectionError):
            pass
        time.sleep(0.02)
    raise AssertionError("it does not answer")


@pytest.fixture
def machine(tmp_path: Path, ship: Ship) -> Iterator[Machine]:
    machine = Machine(tmp_path, ship)
    yield machine
    for agent in machine.agents:
        if agent.poll() is None:
            agent.kill()
        agent.wait()
        if agent.stderr is not None:
            agent.stderr.close()


async def test_a_directory_without_join_information_is_one_clear_line(machine: Machine) -> None:
    (machine.directory / "join.json").unlink()

    ended = machine.run("run")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "join.json" in ended.stderr


async def test_systemd_is_told_once_what_an_earlier_agent_left_has_been_looked_at(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = str(machine.directory / "notify")
        systemd.bind(address)
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        agent = machine.start()
        assert systemd.recv(100) == b"READY=1"
        agent.terminate()
        assert systemd.recv(100) == b"STOPPING=1"


async def test_only_one_agent_for_each_directory(machine: Machine) -> None:
    agent = machine.start()
    machine.until_ready(agent)

    second = machine.run("run")

    assert second.returncode == 1
    assert second.stderr == f"ship-agent: another ship agent runs on {machine.directory}; stop that one first\n"
    assert agent.poll() is None


async def test_it_says_which_process_it_is(machine: Machine) -> None:
    agent = machine.start()
    machine.until_ready(agent)

    said = json.loads((machine.directory / "agent.json").read_text())

    assert said == {"pid": agent.pid, "started_at": psutil.Process(agent.pid).create_time()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_asked_to_stop_it_exits_with_zero_and_leaves_the_workspaces(machine: Machine, number: int) -> None:
    workspace = machine.desire()
    agent = machine.start()
    pid = server_pid(workspace)

    agent.send_signal(number)
    said = agent.communicate(timeout=30)[1]

    assert agent.returncode == 0
    assert server_pid(workspace) == pid
    assert workspace.token not in said
    assert "join-token" not in said


async def test_killed_it_leaves_the_workspaces_and_the_next_one_adopts_and_repairs_them(machine: Machine) -> None:
    workspace = machine.desire()
    first = machine.start()
    pid = server_pid(workspace)

    first.kill()
    first.wait()
    assert server_pid(workspace) == pid
    second = machine.start()
    machine.until_ready(second)
    assert server_pid(workspace) == pid
    os.kill(pid, signal.SIGKILL)

    assert server_pid(workspace, other_than=pid) != pid


async def test_a_log_that_nobody_reads_any_more_does_not_end_it(machine: Machine) -> None:
    workspace = machine.desire()
    agent = machine.start()
    pid = server_pid(workspace)

    assert agent.stderr is not None
    agent.stderr.close()
    os.kill(pid, signal.SIGKILL)  # it has something to say about that

    assert server_pid(workspace, other_than=pid) != pid
    assert agent.poll() is None


async def test_killed_in_the_middle_of_a_start_nothing_runs_twice(machine: Machine) -> None:
    workspace = machine.desire()
    for pause_s in (0.45, 0.6, 0.75):
        agent = machine.start()
        await asyncio.sleep(pause_s)  # at any point: the pauses are spread over a start
        agent.kill()
        agent.wait()

    machine.start()
    server_pid(workspace)

    servers = [pid for pid in machine.ship.living() if b"server.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(servers) == 1


async def test_stop_workspaces_stops_all_and_keeps_the_files(machine: Machine) -> None:
    workspace = machine.desire()
    agent = machine.start()
    server_pid(workspace)
    agent.terminate()
    agent.communicate()

    ended = machine.run("stop-workspaces")

    assert ended.returncode == 0, ended.stderr
    assert machine.ship.living() == []
    assert (machine.directory / "workspaces/w-1/home/notes.txt").exists()
    machine.start()
    server_pid(workspace)


async def test_a_runtime_that_it_lacks_is_named(machine: Machine) -> None:
    join = json.loads((machine.directory / "join.json").read_text())
    (machine.directory / "join.json").write_text(json.dumps({**join, "runtime": "other"}))

    ended = machine.run("run")

    said = "ship-agent: this agent has no runtime 'other'; it has: process, docker\n"
    assert (ended.returncode, ended.stderr) == (1, said)


def test_workspaces_that_are_processes_answer_at_the_ships_address_which_is_of_loopback(tmp_path: Path) -> None:
    join = Join("ship-0001", "camp", "wss://127.0.0.1:1/control", "", "token", "process", "boot-1", "127.64.0.7")
    assert make_runtime("process", tmp_path, join).address == "127.64.0.7"
    assert make_runtime("process", tmp_path).address == "127.0.0.1"
    with pytest.raises(CommandError, match=r"10\.0\.0\.7 is not of loopback, .*: use docker"):
        make_runtime("process", tmp_path, replace(join, address="10.0.0.7"))
