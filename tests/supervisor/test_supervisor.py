"""The supervisor keeps what it starts, owns the sockets, and says in one line why it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from mux.supervisor import (
    EXIT_CONFIG,
    Child,
    Settings,
    Supervisor,
    SupervisorError,
    describe,
    listen_tcp,
    listen_unix,
    lock,
)

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


async def started(child: Child, other_than: int | None = None) -> int:
    """Wait until the child runs (under another pid than ``other_than``)."""
    while (pid := child.pid) is None or pid == other_than:
        await asyncio.sleep(0.01)
    return pid


async def test_a_child_that_is_killed_is_started_again() -> None:
    child = Child("sleeper", SLEEPER, [], stop_s=5)
    keeping = asyncio.create_task(child.keep())
    first = await started(child)
    os.kill(first, signal.SIGKILL)
    second = await started(child, other_than=first)
    assert second != first
    child.stop()
    await child.stopped()
    assert await keeping == -signal.SIGTERM


async def test_a_child_that_cannot_run_here_is_not_started_again() -> None:
    child = Child("hopeless", [sys.executable, "-c", f"import sys; sys.exit({EXIT_CONFIG})"], [], stop_s=5)
    assert await child.keep() == EXIT_CONFIG


async def test_a_child_that_does_not_stop_is_killed() -> None:
    stubborn = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); sys.stderr.write('up'); "
    child = Child("stubborn", [sys.executable, "-c", stubborn + "sys.stderr.flush(); time.sleep(600)"], [], stop_s=0.5)
    keeping = asyncio.create_task(child.keep())
    await started(child)
    await asyncio.sleep(0.3)  # it needs a moment to become stubborn
    child.stop()
    await child.stopped()
    assert await keeping in {-signal.SIGKILL, -signal.SIGTERM}


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_a_child_dies_with_the_supervisor() -> None:
    program = (
        "import asyncio, sys\n"
        "from mux.supervisor import Child\n"
        "async def main():\n"
        "    child = Child('c', [sys.executable, '-c', 'import time; time.sleep(600)'], [], 5)\n"
        "    asyncio.ensure_future(child.keep())\n"
        "    while child.pid is None: await asyncio.sleep(0.01)\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await asyncio.wait_for(process.stdout.readline(), 30))
    process.kill()
    await process.wait()
    while _alive(pid):
        await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SupervisorError, match=f"public address 127.0.0.1:{port} is in use by another program"):
            listen_tcp("public", "127.0.0.1", port)


def test_an_address_that_is_not_ours_is_said_in_one_line() -> None:
    with pytest.raises(SupervisorError, match=r"the public address 192\.0\.2\.1:80"):
        listen_tcp("public", "192.0.2.1", 80)


def test_unix_sockets_are_private_and_replace_what_was_left(tmp_path: Path) -> None:
    path = tmp_path / "feed.sock"
    first = listen_unix(path)
    first.close()
    second = listen_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second.close()


def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="too long"):
        listen_unix(tmp_path / ("x" * 120))


def test_one_supervisor_a_data_directory(tmp_path: Path) -> None:
    held = lock(tmp_path)
    with pytest.raises(SupervisorError, match=f"already running .*process {os.getpid()}"):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))


def test_a_data_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a directory should be")
    with pytest.raises(SupervisorError, match=r"supervisor\.lock"):
        lock(tmp_path)


async def test_signals_that_come_together_are_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(("127.0.0.1", 0), ("127.0.0.1", 0), ("127.0.0.1", 0), tmp_path, 1)
    supervisor = Supervisor(tmp_path / "event.toml", settings, park_on_exit=False)
    killed: list[str] = []
    for child in (supervisor.control, *supervisor.proxies):
        monkeypatch.setattr(child, "kill", lambda name=child.name: killed.append(name))
    for _ in range(5):
        supervisor.request_stop()
    assert not killed
    monkeypatch.setattr("mux.supervisor.SAME_REQUEST_S", 0)
    supervisor.request_stop()
    assert not killed
    supervisor.request_stop()
    assert killed == ["the control process", "proxy 0"]


def test_exit_codes_in_words() -> None:
    assert describe(-9) == "signal SIGKILL"
    assert describe(3) == "exit code 3"
