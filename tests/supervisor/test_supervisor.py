"""The supervisor keeps what it starts, owns the sockets, and says in one line why it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mux.child import EXIT_CONFIG, EXIT_ORPHANED, Child, describe, say
from mux.listeners import ListenError, listen_tcp, listen_unix
from mux.notify import Notifier
from mux.supervisor import EXIT_DEFECT, Settings, Supervisor, SupervisorError, lock, prepare

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
        "from mux.child import Child\n"
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


def test_a_child_whose_supervisor_was_gone_before_it_began_ends() -> None:
    program = "import mux.child as s; s._die_with_parent(1 << 30, s.signal.SIGTERM); print('goes on')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (EXIT_ORPHANED, b"")


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"public address 127.0.0.1:{port} is in use by another program"):
            listen_tcp("public", "127.0.0.1", port)


def test_an_address_that_is_not_ours_is_said_in_one_line() -> None:
    with pytest.raises(ListenError, match=r"the public address 192\.0\.2\.1:80"):
        listen_tcp("public", "192.0.2.1", 80)


def test_unix_sockets_are_private_and_replace_what_was_left(tmp_path: Path) -> None:
    path = tmp_path / "feed.sock"
    first = listen_unix(path)
    first.close()
    second = listen_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second.close()


def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="too long"):
        listen_unix(tmp_path / ("x" * 120))


def test_one_supervisor_a_data_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    held = lock(data)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (data, data / "run")} == {0o700}
    os.close(held)
    held = lock(tmp_path)
    with pytest.raises(SupervisorError, match=f"already running .*process {os.getpid()}"):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))


def test_a_command_that_looks_at_the_lock_keeps_no_mux_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(lock(tmp_path))
    with (tmp_path / "run" / "supervisor.lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr("mux.supervisor.time.sleep", lambda _seconds: fcntl.flock(looking, fcntl.LOCK_UN))
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
    assert describe(-40) == "signal 40"


async def test_a_child_that_ends_by_a_signal_without_a_name_is_started_again() -> None:
    child = Child("sleeper", SLEEPER, [], stop_s=5)
    keeping = asyncio.create_task(child.keep())
    first = await started(child)
    os.kill(first, 40)
    await started(child, other_than=first)
    child.stop()
    await child.stopped()
    assert await keeping == -signal.SIGTERM


async def test_a_child_that_is_stopped_in_its_pause_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.child.RESTART_PAUSE_S", 600.0)
    monkeypatch.setattr("mux.child.RESTART_PAUSE_MAX_S", 600.0)
    child = Child("short", [sys.executable, "-c", "raise SystemExit(3)"], [], stop_s=5)
    keeping = asyncio.create_task(child.keep())
    first = await started(child)
    while _alive(first) or child.pid is not None:
        await asyncio.sleep(0.01)
    child.stop()
    await child.stopped()
    assert keeping.done()
    assert await keeping == 3


async def test_a_child_that_is_stopped_while_it_is_started_ends() -> None:
    child = Child("sleeper", SLEEPER, [], stop_s=30)
    keeping = asyncio.create_task(child.keep())
    await asyncio.sleep(0)  # its start has begun, and there is no process to signal yet
    child.stop()
    await child.stopped()
    assert await keeping == -signal.SIGTERM


@pytest.mark.parametrize(
    "refused",
    [OSError(11, "Resource temporarily unavailable"), subprocess.SubprocessError("Exception occurred in preexec_fn.")],
    ids=["system", "before exec"],
)
async def test_a_child_that_cannot_be_started_now_is_tried_again(
    refused: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, no process left: that passes, and the mux must outlive it."""
    real, tries = asyncio.create_subprocess_exec, []

    async def flaky(*command: str, **options: object) -> asyncio.subprocess.Process:
        tries.append(command)
        if len(tries) < 3:
            raise refused
        return await real(*command, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("mux.child.asyncio.create_subprocess_exec", flaky)
    monkeypatch.setattr("mux.child.RESTART_PAUSE_S", 0.01)
    child = Child("sleeper", SLEEPER, [], stop_s=30)
    keeping = asyncio.create_task(child.keep())
    await started(child)
    child.stop()
    await child.stopped()
    assert await keeping == -signal.SIGTERM
    assert len(tries) == 3


@pytest.mark.parametrize("stream", [None, "closed", "/dev/full"])
def test_a_line_that_nobody_can_take_is_lost(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    target = None
    if stream is not None:
        target = Path("/dev/full" if stream == "/dev/full" else os.devnull).open("w")  # noqa: SIM115 - closed below
        if stream == "closed":
            target.close()
    monkeypatch.setattr(sys, "stderr", target)
    say("hello")
    if target is not None:
        with contextlib.suppress(OSError):
            target.close()


def test_what_others_wrote_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("the hook 10-bad.sh failed:\n\tcol\x1b[2J\u202e é\udcff")
    assert capsys.readouterr().err == "mux: the hook 10-bad.sh failed:\n             col\\x1b[2J\\u202e é\\udcff\n"


def test_no_socket_becomes_a_standard_stream() -> None:
    program = (
        "import os\nfor fd in (0, 1, 2): os.close(fd)\n"
        "from mux.listeners import listen_tcp\nfrom mux.supervisor import open_standard_streams\n"
        "open_standard_streams()\n"
        "os._exit(listen_tcp('public', '127.0.0.1', 0).fileno())\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode > 2


def fake_daemon(directory: Path, program: str) -> dict[str, str]:
    """An environment where ``python -m mux.daemon`` is ``program``."""
    package = directory / "mux"
    (package / "daemon").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "daemon" / "__init__.py").touch()
    (package / "daemon" / "__main__.py").write_text(program)
    return {"PYTHONPATH": str(directory)}


@pytest.mark.parametrize("said", ["nonsense", "{}", "[]", '{"public": 3}', ""])
async def test_a_preparation_that_is_not_understood_is_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in fake_daemon(tmp_path, f"print({said!r})").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SupervisorError, match="not understood"):
        await prepare(tmp_path / "event.toml")


async def test_what_lies_where_it_is_started_is_no_part_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('another json')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SupervisorError, match=r"event\.toml"):
        await prepare(tmp_path / "event.toml")
    settings = Settings(("127.0.0.1", 0), ("127.0.0.1", 0), ("127.0.0.1", 0), tmp_path / "data", 1)
    supervisor = Supervisor(tmp_path / "event.toml", settings, park_on_exit=False)
    assert {child._command[1] for child in (supervisor.control, *supervisor.proxies)} == {"-P"}


async def test_an_installation_that_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while another version is being installed: who asks for it then is told so, and nothing ends."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SupervisorError, match="cannot be started"):
        await prepare(tmp_path / "event.toml")


async def test_a_preparation_that_takes_long_is_told_and_ends_with_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mux.supervisor.PREPARING_S", 0.05)
    pid = tmp_path / "pid"
    hang = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    for name, value in fake_daemon(tmp_path, hang).items():
        monkeypatch.setenv(name, value)
    preparing = asyncio.create_task(prepare(tmp_path / "event.toml"))
    while not (pid.exists() and pid.read_text()) or "still preparing" not in capsys.readouterr().err:
        await asyncio.sleep(0.02)
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    while _alive(int(pid.read_text())):
        await asyncio.sleep(0.01)


async def test_systemd_is_told_when_it_listens_and_when_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in fake_daemon(tmp_path, "import time; time.sleep(600)").items():
        monkeypatch.setenv(name, value)
    settings = Settings(("127.0.0.1", 0), ("127.0.0.1", 0), ("127.0.0.1", 0), tmp_path / "data", 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        supervisor = Supervisor(tmp_path / "event.toml", settings, park_on_exit=False, notifier=notifier)
        running = asyncio.create_task(supervisor.run())
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(systemd, 100) == b"READY=1"
        supervisor.request_stop()
        assert await loop.sock_recv(systemd, 100) == b"STOPPING=1"
        await running


@pytest.fixture
def resting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A supervisor that does not run yet; its control process does nothing, and it has no proxies."""
    monkeypatch.chdir(tmp_path)
    for name, value in fake_daemon(tmp_path, "import time; time.sleep(600)").items():
        monkeypatch.setenv(name, value)
    settings = Settings(("127.0.0.1", 0), ("127.0.0.1", 0), ("127.0.0.1", 0), tmp_path / "data", 0)
    return Supervisor(tmp_path / "event.toml", settings, park_on_exit=False)


async def test_a_defect_on_the_way_to_the_next_version_does_not_end_this_one(
    resting: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def defective(*_: object) -> Settings:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr("mux.supervisor.prepare", defective)
    running = asyncio.create_task(resting.run())
    try:
        for _ in range(2):
            resting.request_next()
            said = ""
            while "this one goes on" not in said:
                await asyncio.sleep(0.01)
                assert not running.done()
                said += capsys.readouterr().err
            assert "nobody thought of this" in said
    finally:
        resting.request_stop()
        assert await running == 0


async def test_a_mux_that_cannot_give_way_any_more_ends_loudly(
    resting: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control process is gone by then: systemd starts the mux again, and people read why."""

    async def prepared(*_: object) -> None:
        return

    def defective(*_: object) -> None:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr("mux.supervisor.prepare", prepared)
    monkeypatch.setattr("mux.supervisor.become_next", defective)
    running = asyncio.create_task(resting.run())
    await started(resting.control)
    resting.request_next()
    assert await running == EXIT_DEFECT
    said = capsys.readouterr().err
    assert "start mux again" in said
    assert "nobody thought of this" in said
    assert "cannot run here" not in said
