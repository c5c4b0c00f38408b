"""One version of the mux follows the other, and nobody is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from mux.proxy.limits import DRAIN_IDLE_S
from tests.supervisor.small_mux import ROOT

PATIENCE_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Small:
    """A small mux that runs."""

    def __init__(self, data: Path, process: asyncio.subprocess.Process, port: int) -> None:
        self.data, self.process, self.port = data, process, port
        self.log = ""

    async def until(self, fulfilled: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(fulfilled):
                assert self.process.returncode is None, (self.data / "log").read_text()
                await asyncio.sleep(0.05)

    def children(self, word: str) -> set[int]:
        """Processes below the supervisor whose command line has a word."""
        found = set()
        for child in psutil.Process(self.process.pid).children():
            try:
                if word in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.add(child.pid)
            except psutil.Error:
                continue
        return found

    def answered(self) -> bool:
        """Whether a request is answered now."""
        try:
            return self.ask() is not None
        except OSError:
            return False

    def ask(self) -> bytes | None:
        """One request on a connection of its own: its answer; None if this process slept too long to be sure of one."""
        began = sent = time.monotonic()
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock:
                sock.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n".encode())
                sent = time.monotonic()
                while data := sock.recv(65536):
                    answer += data
        except (ConnectionResetError, BrokenPipeError):
            if (time.monotonic() if sent == began else sent) - began < DRAIN_IDLE_S / 2:
                raise
            return None
        return None if not answer and sent - began > DRAIN_IDLE_S / 2 else answer


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Small]:
    """A supervisor, its stand-in for a control process, and two proxies."""
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.supervisor.small_mux", str(tmp_path), str(port), cwd=ROOT, stderr=log
        )
    running = Small(tmp_path, process, port)
    try:
        await running.until(running.answered)
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_the_next_version_takes_over_and_nobody_is_refused(small: Small) -> None:
    await small.until(lambda: len(small.children("mux.proxy")) == 2)
    before = small.children("mux.proxy") | small.children("control")
    answers: Counter[bytes] = Counter()
    failures: list[BaseException] = []
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            try:
                answer = small.ask()
            except OSError as error:
                failures.append(error)
            else:
                answers[b"late" if answer is None else answer.partition(b"\r\n")[0]] += 1

    pollers = [asyncio.create_task(asyncio.to_thread(poll)) for _ in range(3)]
    try:
        small.process.send_signal(signal.SIGUSR2)
        await small.until(lambda: not before & (small.children("mux.proxy") | small.children("control")))
        await small.until(lambda: len(small.children("mux.proxy")) == 2 and len(small.children("control")) == 1)
        done = sum(answers.values())
        await small.until(lambda: sum(answers.values()) > done + 10)
    finally:
        over.set()
        await asyncio.gather(*pollers)
    assert not failures
    assert answers.pop(b"HTTP/1.1 200 OK") > 10
    # Where a new control process takes very long, pages say that it will be back.
    assert set(answers) <= {b"late", b"HTTP/1.1 503 Service Unavailable"}, answers
    assert "giving way" in (small.data / "log").read_text()


async def test_a_next_version_that_cannot_start_changes_nothing(small: Small) -> None:
    await small.until(lambda: len(small.children("mux.proxy")) == 2)
    before = small.children("mux.proxy") | small.children("control")
    (small.data / "broken").touch()
    small.process.send_signal(signal.SIGUSR2)
    await small.until(lambda: "this one goes on" in (small.data / "log").read_text())
    assert before == small.children("mux.proxy") | small.children("control")
    assert await asyncio.to_thread(small.answered)


HANDED_OVER = """
import os, socket, sys
from mux.listeners import HandedOver, hand_over, listen_tcp
if len(sys.argv) == 1:
    sock = socket.create_server(("127.0.0.1", 0))
    other = socket.create_server(("127.0.0.1", 0))
    port = str(sock.getsockname()[1])
    env = {**os.environ, **hand_over({"public": sock, "admin": other})}
    os.execve(sys.executable, [*sys.orig_argv, port], env)
port = int(sys.argv[1])
given = HandedOver(os.environ, print)
print(listen_tcp("public", "127.0.0.1", port, given).getsockname()[1] == port)
print(listen_tcp("admin", "127.0.0.2", 0, given).getsockname()[0])
given.close()
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


def test_sockets_come_as_systemd_hands_them_over() -> None:
    done = subprocess.run([sys.executable, "-c", HANDED_OVER], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == [
        "True",
        "the socket admin that was handed over is not used: it does not listen on 127.0.0.2:0",
        "127.0.0.2",
        "[]",
    ]


def test_sockets_of_another_process_are_left_alone() -> None:
    from mux.listeners import HandedOver

    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "public"}
    assert HandedOver(environ).take("public", ("127.0.0.1", 0)) is None
    assert environ == {}
