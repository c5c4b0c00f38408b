"""Proxy processes as the supervisor and as people start them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mux.core.feed import Snapshot
from mux.core.routes import RouteTable, SessionEntry
from mux.proxy import limits
from mux.proxy.descriptors import Descriptors
from mux.proxy.static import StaticError, load_static, run_static
from tests.certificates import Authority
from tests.proxy.rig import ALICE, BOB, INTRO, PATIENCE_S, SETTINGS, Response, Rig, Wire, request, session_of
from tests.proxy.test_feed import Control
from tests.proxy.test_messages import OK

BOTH_WAYS = True
STRICT_IS_LONG = True
LOOPS = ["uvloop", "asyncio"]


@asynccontextmanager
async def process(*arguments: str, fds: tuple[int, ...] = ()) -> AsyncIterator[asyncio.subprocess.Process]:
    """``python -m mux.proxy``, ended at the end."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mux.proxy", *arguments, pass_fds=fds, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def dial(port: int) -> Wire:
    """Connect to a process that may still be starting."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return Wire(*await asyncio.open_connection("127.0.0.1", port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def fed(rig: Rig, directory: Path, loop: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, socket.socket]]:
    """A proxy process on an inherited socket, with the rig's table in force."""
    control = Control(str(directory / "feed"))
    await control.start()
    listener = socket.create_server(("127.0.0.1", 0))
    descriptor = listener.fileno()
    arguments = [f"--listen-fd={descriptor}", f"--feed={control.path}", f"--web={rig.web_path}", f"--loop={loop}"]
    async with process(*arguments, "--name=proxy-0", *rig.flags, fds=(descriptor,)) as started:
        await control.connected()
        control.send(Snapshot(1, SETTINGS, rig.table))
        await control.acknowledged()
        yield started, listener
    control.stop()
    listener.close()


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_worker_serves_an_inherited_socket_and_drains_on_sigterm(rig: Rig, tmp_path: Path, loop: str) -> None:
    release, asked = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        asked.set()
        await release.wait()
        await wire.send(OK)

    rig.alice.script = script
    async with fed(rig, tmp_path, loop) as (started, listener):
        port = listener.getsockname()[1]
        idle, busy = await dial(port), await dial(port)
        assert (await idle.ask(request(user=None))).body == b"web"
        await busy.send(request())
        await asked.wait()
        started.send_signal(signal.SIGTERM)
        assert await idle.closed() == b""
        release.set()
        assert (await busy.response()).body == b"ok"
        assert await asyncio.wait_for(started.wait(), PATIENCE_S) == 0
        # Only its own duplicate was closed: connections wait for the next worker.
        waiting = socket.create_connection(("127.0.0.1", port))
        accepted, _ = listener.accept()
        waiting.close()
        accepted.close()


async def test_who_comes_before_the_first_feed_waits_for_it(rig: Rig, tmp_path: Path) -> None:
    """A proxy that was started again must not take a connection away from one that has its routes."""
    control = Control(str(tmp_path / "feed"))
    await control.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        arguments = [f"--listen-fd={descriptor}", f"--feed={control.path}", f"--web={rig.web_path}"]
        async with process(*arguments, *rig.flags, fds=(descriptor,)):
            await control.connected()
            client = await dial(listener.getsockname()[1])
            await client.send(request(user=None))
            control.send(Snapshot(1, SETTINGS, rig.table))
            assert (await client.response()).body == b"web"
    control.stop()


async def test_sigterm_does_not_wait_for_event_streams(rig: Rig, tmp_path: Path) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
        await wire.rest()

    rig.web.script = script
    async with fed(rig, tmp_path, "auto") as (started, listener):
        client = await dial(listener.getsockname()[1])
        await client.send(request(user=None))
        await client.until(b"data: x\n\n")
        started.send_signal(signal.SIGTERM)
        assert await client.closed() == b""
        assert await asyncio.wait_for(started.wait(), PATIENCE_S) == 0


async def test_the_log_holds_no_secret(rig: Rig, tmp_path: Path) -> None:
    await rig.bob.stop()
    async with fed(rig, tmp_path, "auto") as (started, listener):
        client = await dial(listener.getsockname()[1])
        bob = request(b"GET /camp/intro/?token=query-secret").replace(b"token-of-alice", b"token-of-bob")
        assert (await client.ask(bob)).status == 503
        started.send_signal(signal.SIGTERM)
        assert started.stderr is not None
        log = await started.stderr.read()
    assert b"upstream failed" in log
    for secret in (b"secret-bob", b"token-of-bob", b"query-secret"):
        assert secret not in log
    assert all(json.loads(line) for line in log.splitlines())


@pytest.mark.parametrize("loop", LOOPS)
async def test_static_routes_are_served_alone(rig: Rig, tmp_path: Path, loop: str) -> None:
    file = tmp_path / "routes.json"
    routes = [
        {"prefix": "/", "upstream": f"127.0.0.1:{rig.alice.port}"},
        {"prefix": "/b/", "upstream": f"127.0.0.1:{rig.bob.port}"},
    ]
    file.write_text(json.dumps({"sessions": False, "routes": routes}))
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    async with process(f"--static={file}", f"--listen=127.0.0.1:{port}", f"--loop={loop}", *rig.flags) as started:
        client = await dial(port)
        for target, body in ((b"/x", b"alice"), (b"/b", b"bob"), (b"/b/x", b"bob"), (b"/bx", b"alice")):
            raw = b"GET " + target + b" HTTP/1.1\r\nHost: any.test\r\nAuthorization: token mine\r\n\r\n"
            assert (await client.ask(raw)).body == body
        assert b"Authorization: token mine\r\n" in rig.alice.requests[0]
        refused = await client.ask(b"POST / HTTP/1.1\r\nHost: any.test\r\nOrigin: http://evil.test\r\n\r\n")
        assert refused.status == 403
        started.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(started.wait(), PATIENCE_S) == 0


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"routes": [{"prefix": "/", "upstream": "127.0.0.1:1"}]}',
        '{"sessions": true, "routes": [{"prefix": "/", "upstream": "127.0.0.1:1"}]}',
        '{"sessions": false, "routes": []}',
        '{"sessions": false, "routes": [{"prefix": "x", "upstream": "127.0.0.1:1"}]}',
        '{"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1"}]}',
        '{"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1:99999"}]}',
        '{"sessions": false, "routes": ["/"]}',
        '{"sessions": false, "certificate": 1, "routes": [{"prefix": "/", "upstream": "127.0.0.1:1"}]}',
        '{"sessions": [], "origin": "http://a", "routes": [{"user": "a", "project": "b", "upstream": "127.0.0.1:1"}]}',
        '{"sessions": [{"token": "12345678", "user": "a"}], "routes": [{"user": "a", "upstream": "c:1"}]}',
        '{"sessions": [{"token": "a;b", "user": "a"}], "origin": "http://a", "routes": [{}]}',
        '{"sessions": [{"token": "12345678", "user": "a"}], "origin": "http://a", "routes": [{"user": "a"}]}',
    ],
)
def test_a_wrong_routes_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "routes.json"
    file.write_text(text)
    with pytest.raises(StaticError, match=r"routes\.json"):
        load_static(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_static_without_sessions_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    file = tmp_path / "routes.json"
    file.write_text('{"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1:1"}]}')
    with pytest.raises(StaticError, match="loopback"):
        await run_static(file, host, 0)


@pytest.mark.parametrize("flags", [[], ["--no-memo", "--no-splice"]], ids=["fast", "plain"])
async def test_static_sessions_are_served_as_in_an_event(rig: Rig, tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "routes.json"
    routes = [
        {"user": "a", "project": "intro", "upstream": f"127.0.0.1:{rig.alice.port}", "token": "secret-a"},
        {"user": "b", "project": "intro", "upstream": f"127.0.0.1:{rig.bob.port}"},
    ]
    sessions = [{"token": "token-of-alice", "user": "a"}, {"token": "token-of-bob", "user": "b"}]
    file.write_text(json.dumps({"sessions": sessions, "origin": "http://camp.test:8000", "routes": routes}))
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    async with process(f"--static={file}", f"--listen=127.0.0.1:{port}", *flags):
        client = await dial(port)
        bodies = [(await client.ask(request(user=user))).body for user in (ALICE, BOB) * 3]
        assert bodies == [b"alice", b"bob"] * 3
        assert b"Authorization: token secret-a\r\n" in rig.alice.requests[-1]
        assert b"Authorization" not in rig.bob.requests[-1]
        assert (await client.ask(request(user=None))).status == 401
        client = await dial(port)
        assert (await client.ask(request(b"GET /camp/other/"))).status == 404


async def test_static_speaks_tls_with_a_certificate(rig: Rig, tmp_path: Path) -> None:
    authority = Authority()
    chain, key = authority.issue("localhost").write(tmp_path, "own")
    (tmp_path / "both.pem").write_bytes(key.read_bytes() + chain.read_bytes())
    file = tmp_path / "routes.json"
    routes = [{"prefix": "/", "upstream": f"127.0.0.1:{rig.alice.port}"}]
    file.write_text(json.dumps({"sessions": False, "certificate": "both.pem", "routes": routes}))
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    served = asyncio.create_task(run_static(file, "127.0.0.1", 0, ready))
    port = await ready
    reader, writer = await asyncio.open_connection("localhost", port, ssl=authority.trusting())
    writer.write(f"GET /a HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://localhost:{port}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert b"X-Forwarded-Proto: https" in rig.alice.requests[-1]
    writer.close()
    os.kill(os.getpid(), signal.SIGTERM)
    await served


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_static_without_a_good_certificate_does_not_start(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "both.pem").write_text(text)
    file = tmp_path / "routes.json"
    routes = '[{"prefix": "/", "upstream": "127.0.0.1:1"}]'
    file.write_text(f'{{"sessions": false, "certificate": "both.pem", "routes": {routes}}}')
    with pytest.raises(StaticError, match=r"both\.pem"):
        await run_static(file, "127.0.0.1", 0)


async def test_a_port_in_use_is_one_clear_line(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    file.write_text('{"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1:1"}]}')
    async with process(f"--static={file}", f"--listen=127.0.0.1:{rig.alice.port}") as started:
        assert started.stderr is not None
        text = (await started.stderr.read()).decode()
        assert await started.wait() == 2
    assert text.count("\n") == 1
    assert "in use" in text


async def test_two_workers_share_a_socket(rig: Rig, tmp_path: Path) -> None:
    """The loss of one is repaired by the other: a connection that is made then is served."""
    async with fed(rig, tmp_path, "auto") as (first, listener):
        descriptor = listener.fileno()
        control = Control(str(tmp_path / "feed2"))
        await control.start()
        arguments = [f"--listen-fd={descriptor}", f"--feed={control.path}", f"--web={rig.web_path}"]
        async with process(*arguments, *rig.flags, fds=(descriptor,)):
            await control.connected()
            entry = SessionEntry(ALICE, time.time() + 600)
            routes = {(ALICE, INTRO): rig.route(rig.alice)}
            control.send(Snapshot(1, SETTINGS, RouteTable({session_of("token-of-alice"): entry}, routes)))
            await control.acknowledged()
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()
            for _ in range(3):
                client = await dial(listener.getsockname()[1])
                await client.send(request())
                assert Response(await client.head()).status == 200
        control.stop()


async def test_too_few_file_descriptors_are_refused_with_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    file.write_text(json.dumps({"sessions": False, "routes": [{"prefix": "/", "upstream": "127.0.0.1:1"}]}))
    started = await asyncio.create_subprocess_exec(
        "prlimit", "--nofile=512:512", sys.executable, "-m", "mux.proxy", "--static", str(file),
        "--listen", "127.0.0.1:0", stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await asyncio.wait_for(started.communicate(), PATIENCE_S)
    assert started.returncode == 2
    assert b"may open 512 files at most" in said and b"LimitNOFILE" in said
    assert b"Traceback" not in said


@pytest.mark.parametrize("number", [1024, 4096, 65_536, 1_048_576])
def test_descriptors_are_divided_so_that_each_connection_has_one_for_its_upstream(number: int) -> None:
    room = Descriptors.of(number)
    used = 2 * room.connections + room.idle + room.pipes * limits.PIPE_FDS + limits.FDS_RESERVED
    assert used <= number
    assert room.connections == limits.CONNECTIONS_MAX or room.connections >= number // 3
    assert room.pipes > 0 and room.idle > 0


async def test_a_request_that_was_on_its_way_when_a_worker_stops_is_answered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that never asked, and on one that is kept: neither knows of the stop when it sends."""
    monkeypatch.setattr(limits, "DRAIN_IDLE_S", PATIENCE_S)
    fresh, kept = await rig.client(), await rig.client()
    assert (await kept.ask(request())).body == b"alice"
    async with asyncio.timeout(PATIENCE_S):
        while len(rig.plane._clients) < 2:
            await asyncio.sleep(0)
    draining = asyncio.create_task(rig.plane.drain(PATIENCE_S))
    async with asyncio.timeout(PATIENCE_S):
        while not rig.plane.draining:
            await asyncio.sleep(0)
    for wire in (fresh, kept):
        answer = await wire.ask(request())
        assert (answer.status, answer.values("connection")) == (200, ["close"])
    await draining
