"""What the provider `local` adds to the protocol: agents as processes that outlive the mux and are kept running."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mux.core.model import MachineStatus, ShipId
from mux.providers import agent_process, local, local_files
from mux.providers.base import ProviderError
from mux.providers.local import LocalProvider
from ship_agent.join import read_join
from tests.providers.backends import FAKE_AGENT, LocalBackend, order, until

SHIP = ShipId("ship-0001")


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[LocalBackend]:
    made = LocalBackend(tmp_path / "ships")
    yield made
    await made.clean_up()


@pytest.fixture
async def provider(backend: LocalBackend) -> LocalProvider:
    made = backend.provider()
    await made.open()
    return made


def boots(backend: LocalBackend, ship: str = SHIP) -> list[str]:
    """The boot that each start of the ship's agent saw."""
    return [json.loads(line) for line in (backend.root / ship / "starts").read_text().splitlines()]


# --- the agent as a process -----------------------------------------------------------------------------------------


async def test_an_agent_has_its_own_session_no_stdin_and_none_of_the_muxs_secrets_or_files(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUX_SECRET", "not for agents")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for agents")
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    try:
        provider = backend.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        agent = await backend.running(SHIP)
        assert os.getsid(agent.pid) == agent.pid
        assert "not for agents" not in "".join(agent.environ().values())
        descriptors = Path(f"/proc/{agent.pid}/fd")
        targets = {path.name: str(path.readlink()) for path in descriptors.iterdir()}
        assert targets["0"] == "/dev/null"
        own = {str(backend.root / SHIP / name) for name in ("agent.log", "agent.lock")}
        assert {target for name, target in targets.items() if name != "0"} == own
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_an_agents_output_is_in_its_log(backend: LocalBackend, provider: LocalProvider) -> None:
    await provider.launch(order(SHIP))
    path = backend.root / SHIP / "agent.log"
    await until(lambda: path.exists() and "agent runs" in path.read_text())


async def test_the_join_information_is_what_the_agent_reads(backend: LocalBackend, provider: LocalProvider) -> None:
    asked = order(SHIP)
    await provider.launch(asked)
    path = backend.root / SHIP / "join.json"
    join = read_join(path)
    assert (join.ship, join.event, join.control_url) == (asked.ship, asked.event, asked.control_url)
    assert (join.ca_pem, join.join_token, join.runtime) == (asked.ca_pem, asked.join_token, asked.runtime)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_an_agent_that_dies_is_started_again_in_the_same_boot(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    first = await backend.running(SHIP)
    first.kill()
    await until(lambda: len(boots(backend)) == 2)
    assert len(set(boots(backend))) == 1
    assert (await provider.list())[SHIP].status is MachineStatus.RUNNING


async def test_a_started_machine_is_a_new_boot(backend: LocalBackend, provider: LocalProvider) -> None:
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    await provider.park(SHIP)
    assert backend.agent(SHIP) is None
    await provider.start(replace(order(SHIP), control_url="wss://127.0.0.1:9443/control"))
    await until(lambda: len(boots(backend)) == 2)
    assert len(set(boots(backend))) == 2
    assert read_join(backend.root / SHIP / "join.json").control_url == "wss://127.0.0.1:9443/control"


async def test_parking_ends_the_agent_first_and_then_its_workspaces(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    await provider.park(SHIP)
    assert backend.agent(SHIP) is None
    assert (backend.root / SHIP / "stop-calls").read_text() == "called\n"
    await provider.park(SHIP)
    assert (backend.root / SHIP / "stop-calls").read_text() == "called\n"


async def test_an_agent_that_does_not_stop_when_asked_is_killed(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STOP_S", 0.1)
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    (backend.root / SHIP / "stubborn").touch()
    await provider.park(SHIP)
    assert backend.agent(SHIP) is None


async def test_workspaces_that_do_not_stop_are_an_error_and_another_try_works(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    (backend.root / SHIP / "workspaces-stay").touch()
    with pytest.raises(ProviderError, match="workspaces did not stop") as caught:
        await provider.terminate(SHIP)
    assert not caught.value.fatal
    assert SHIP in await provider.list()
    (backend.root / SHIP / "workspaces-stay").unlink()
    await provider.terminate(SHIP)
    assert await provider.list() == {}


async def test_terminating_deletes_the_directory_with_read_only_parts(
    backend: LocalBackend, provider: LocalProvider, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").touch()
    await provider.launch(order(SHIP))
    locked = backend.root / SHIP / "work" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    (backend.root / SHIP / "work" / "link").symlink_to(outside)
    locked.chmod(0o500)
    await provider.terminate(SHIP)
    assert list(backend.root.iterdir()) == []
    assert (outside / "kept").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_read_only_directories_are_deleted_without_the_rights_of_root(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "locked" / "deeper").mkdir(parents=True)
    (tree / "locked" / "deeper" / "file").touch()
    (tree / "locked" / "deeper").chmod(0)
    (tree / "locked").chmod(0o500)
    # Root would pass whatever the modes: look at them where the deletion itself begins.
    modes: list[int] = []

    def look(path: Path) -> None:
        modes.extend(stat.S_IMODE(each.stat().st_mode) for each in (path / "locked", path / "locked" / "deeper"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", look)
        local_files.delete_tree(tree)
    assert modes == [0o700, 0o700]
    local_files.delete_tree(tree)
    assert not tree.exists()


async def test_a_deleted_directory_is_not_listed_and_its_agent_may_end_in_its_own_way(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    local_files.delete_tree(backend.root / SHIP)
    await until(lambda: backend.agents() == [])
    assert (backend.root / f"{SHIP}-ended-by-itself").exists()
    assert await provider.list() == {}


async def test_an_agent_that_outstays_its_directory_is_ended(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WORKSPACES_STOP_S", 0.1)
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    (backend.root / SHIP / "machine.json").unlink()
    await until(lambda: backend.agents() == [])
    assert not (backend.root / f"{SHIP}-ended-by-itself").exists()


# --- the mux comes and goes -----------------------------------------------------------------------------------------


async def test_an_agent_outlives_the_mux_and_is_adopted(backend: LocalBackend, provider: LocalProvider) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    assert agent.is_running()
    second = backend.provider()
    await second.open()
    await second.launch(order(SHIP))
    adopted = backend.agent(SHIP)
    assert adopted is not None
    assert adopted.pid == agent.pid
    assert len(boots(backend)) == 1


async def test_an_adopted_agent_is_watched(backend: LocalBackend, provider: LocalProvider) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    second = backend.provider()
    await second.open()
    agent.kill()
    await until(lambda: len(boots(backend)) == 2)
    await second.park(SHIP)
    assert backend.agents() == []


async def test_an_agent_that_died_while_the_mux_was_away_is_started(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    agent.kill()
    await until(lambda: backend.agents() == [])
    second = backend.provider()
    await second.open()
    await until(lambda: len(boots(backend)) == 2)


async def test_an_agent_that_has_not_yet_written_its_pid_is_adopted_by_its_command(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    (backend.root / SHIP / "agent.json").unlink()
    second = backend.provider()
    await second.open()
    await second.park(SHIP)
    assert not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE
    assert len(boots(backend)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"pid": "x", "started_at": 1}',
        b'{"pid": -1, "started_at": 1.0}',
        b'{"pid": 1e400, "started_at": 1.0}',
        b'{"pid": 99999999999999999999, "started_at": 1.0}',
        b"\xff\xfe",
    ],
)
async def test_a_damaged_agent_json_stops_nothing(
    backend: LocalBackend, provider: LocalProvider, content: bytes
) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    (backend.root / SHIP / "agent.json").write_bytes(content)
    second = backend.provider()
    await second.open()
    assert [process.pid for process in backend.agents()] == [agent.pid]
    assert len(boots(backend)) == 1
    await second.park(SHIP)
    assert backend.agents() == []


async def test_an_agent_that_escaped_the_first_look_is_adopted_at_the_next(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    second = backend.provider()
    with monkeypatch.context() as patch:
        patch.setattr(LocalProvider, "_find_agents", lambda *_: {})
        await second.open()
    await until(lambda: SHIP in second._agents and second._agents[SHIP].pid == agent.pid)
    assert len(boots(backend)) == 1


async def test_a_process_that_has_got_an_old_agents_pid_is_left_alone(
    backend: LocalBackend, provider: LocalProvider
) -> None:
    await provider.launch(order(SHIP))
    agent = await backend.running(SHIP)
    await provider.close()
    agent.kill()
    await until(lambda: backend.agents() == [])
    bystander = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        started_at = psutil.Process(bystander.pid).create_time() - 5
        (backend.root / SHIP / "agent.json").write_text(json.dumps({"pid": bystander.pid, "started_at": started_at}))
        second = backend.provider()
        await second.open()
        await until(lambda: len(boots(backend)) == 2)
        await second.terminate(SHIP)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_the_directory_of_another_event_is_left_alone(backend: LocalBackend, provider: LocalProvider) -> None:
    theirs = backend.provider("other-camp")
    await theirs.open()
    await theirs.launch(order(SHIP, "other-camp"))
    agent = await backend.running(SHIP)
    with pytest.raises(ProviderError, match="not this event's") as caught:
        await provider.launch(order(SHIP))
    assert caught.value.fatal
    await theirs.close()
    again = backend.provider()
    await again.open()
    assert agent.is_running()
    assert len(boots(backend)) == 1
    assert (await provider.launch(order("ship-0002"))).port_first != 30_000


# --- trouble --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the mux's process."""


STEPS: dict[str, tuple[Any, str]] = {
    "replace a file": (Path, "replace"),
    "write join.json": (local, "write_json"),
    "write machine.json": (local, "save_record"),
    "rename the directory": (Path, "rename"),
    "sync": (local, "sync_directory"),
    "delete": (local, "delete_tree"),
    "start the agent": (agent_process, "spawn"),
    "end the agent": (LocalProvider, "_end_agent"),
    "stop workspaces": (LocalProvider, "_stop_workspaces"),
}
WAYS = {
    "launch": ("replace a file", "write join.json", "write machine.json", "rename the directory", "sync"),
    "park": ("replace a file", "write machine.json", "end the agent", "stop workspaces"),
    "start": ("replace a file", "write join.json", "write machine.json"),
    "terminate": ("write machine.json", "end the agent", "stop workspaces", "rename the directory", "sync", "delete"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("call", "step"), [(call, step) for call, steps in WAYS.items() for step in steps])
async def test_a_kill_at_any_step_leaves_what_the_next_run_repairs(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, call: str, step: str, after: bool
) -> None:
    first = backend.provider()
    await first.open()
    if call != "launch":
        await first.launch(order(SHIP))
        await backend.running(SHIP)
    if call == "start":
        await first.park(SHIP)

    owner, name = STEPS[step]
    original = getattr(owner, name)

    def die(*arguments: Any, **keywords: Any) -> Any:
        if after:
            original(*arguments, **keywords)
        raise Killed

    async def die_async(*arguments: Any, **keywords: Any) -> Any:
        if after:
            await original(*arguments, **keywords)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die_async if asyncio.iscoroutinefunction(original) else die)
        work = getattr(first, call)
        with pytest.raises(Killed):
            await (work(order(SHIP)) if call in ("launch", "start") else work(SHIP))
        await first.close()

    second = backend.provider()
    await second.open()
    match call:
        case "launch":
            machine = await second.launch(order(SHIP))
            assert machine.status is MachineStatus.RUNNING
            await backend.running(SHIP)
        case "park":
            await second.park(SHIP)
            assert (await second.list())[SHIP].status is MachineStatus.STOPPED
            assert backend.agents() == []
        case "start":
            await second.start(order(SHIP))
            assert (await second.list())[SHIP].status is MachineStatus.RUNNING
            await backend.running(SHIP)
        case "terminate":
            await second.terminate(SHIP)
            assert await second.list() == {}
    await second.terminate(SHIP)
    assert backend.agents() == []
    third = backend.provider()
    await third.open()
    assert list(backend.root.iterdir()) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_kill_while_an_agent_is_started_leaves_one_agent(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    first = backend.provider()
    await first.open()
    original = agent_process.spawn

    def die(*arguments: Any) -> None:
        if after:
            original(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(agent_process, "spawn", die)
        await first.launch(order(SHIP))
        await asyncio.gather(*first._watchers.values(), return_exceptions=True)
        await first.close()
    second = backend.provider()
    await second.open()
    agent = await backend.running(SHIP)
    assert len(boots(backend)) == 1
    # Whenever it became visible, it is watched now.
    agent.kill()
    await until(lambda: len(boots(backend)) == 2)


@pytest.mark.parametrize(("call", "left"), [("park", [SHIP]), ("terminate", [])])
async def test_what_a_killed_run_began_is_finished_without_being_asked_again(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch, call: str, left: list[str]
) -> None:
    await provider.launch(order(SHIP))
    await backend.running(SHIP)

    async def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalProvider, "_stop", die)
        with pytest.raises(Killed):
            await getattr(provider, call)(SHIP)
    await provider.close()
    second = backend.provider()
    await second.open()
    await until(lambda: not second._repairs)
    assert backend.agents() == []
    assert [path.name for path in backend.root.iterdir()] == left


async def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ProviderError, match="the disk is full; free some space") as caught:
            await provider.launch(order(SHIP))
    assert not caught.value.fatal
    assert "\n" not in str(caught.value)
    assert list(backend.root.iterdir()) == []
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ProviderError, match="disk is full"):
            await provider.park(SHIP)
        # Said, and ended all the same: a mux that stops on a full disk leaves nobody running.
        assert backend.agent(SHIP) is None
        assert (backend.root / SHIP / "machine.json").exists()


async def test_a_ship_can_be_terminated_on_a_full_disk(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.launch(order(SHIP))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local, "save_record", full)
    await provider.terminate(SHIP)
    assert list(backend.root.iterdir()) == []


async def test_an_agent_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "agent"
    provider = LocalProvider(tmp_path / "ships", "camp", command=[str(program)], watch_s=0.02)
    await provider.open()
    try:
        await provider.launch(order(SHIP))
        program.write_text(f'#!/bin/sh\nexec {" ".join(FAKE_AGENT)} "$@"\n')
        program.chmod(0o700)
        await until((tmp_path / "ships" / SHIP / "agent.json").exists)
        await provider.terminate(SHIP)
    finally:
        await provider.close()


async def test_a_defect_while_an_agent_is_watched_does_not_end_the_watch(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, defects = agent_process.spawn, [RuntimeError("a defect")]

    def spawn(*given: Any) -> agent_process.AgentProcess:
        if defects:
            raise defects.pop()
        return real(*given)

    monkeypatch.setattr(agent_process, "spawn", spawn)
    monkeypatch.setattr(local, "RESPAWN_FIRST_S", 0.01)
    await provider.launch(order(SHIP))
    await backend.running(SHIP)
    assert not defects


async def test_reaping_is_over_when_every_ship_has_been_tried(
    backend: LocalBackend, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ship in (SHIP, "ship-0002"):
        await provider.launch(order(ship))
        await backend.running(ship)
    real = local_files.delete_tree

    def delete(path: Path) -> None:
        if f"-{SHIP}-" in path.name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        real(path)

    monkeypatch.setattr("mux.providers.local.delete_tree", delete)
    with pytest.raises(ProviderError, match="Input/output error"):
        await provider.reap(foreign=False)
    assert await provider.list() == {}
    assert backend.agent("ship-0002") is None


async def test_too_many_ships_for_the_ports_are_refused_for_good(tmp_path: Path) -> None:
    provider = LocalProvider(
        tmp_path / "ships", "camp", port_first=65_000, ports_per_ship=400, command=FAKE_AGENT, watch_s=0.02
    )
    await provider.open()
    await provider.launch(order(SHIP))
    with pytest.raises(ProviderError, match="no free range of ports") as caught:
        await provider.launch(order("ship-0002"))
    assert caught.value.fatal
    await provider.terminate(SHIP)
    await provider.close()


def test_a_log_that_has_grown_too_large_is_moved_aside_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_process, "LOG_BYTES_MAX", 100)
    with (tmp_path / "agent.log").open("ab", buffering=0) as writer:
        writer.write(b"a" * 150 + b"b" * 100)
        agent_process.bound_log(tmp_path)
        writer.write(b"c")
        agent_process.bound_log(tmp_path)
    assert (tmp_path / "agent.log").read_bytes() == b"c"
    assert (tmp_path / "agent.log.1").read_bytes() == b"b" * 100


def test_a_signal_is_not_sent_to_an_agent_that_has_ended(tmp_path: Path) -> None:
    agent = agent_process.spawn([sys.executable, "-c", "raise SystemExit(7)"], tmp_path, {})
    while agent.ended() is None:
        pass
    agent.signal(signal.SIGTERM)
    assert agent.ended() == "exit code 7"
