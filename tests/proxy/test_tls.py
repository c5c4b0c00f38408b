"""TLS at the data plane, on both loops: exchanged under load, ends of streams, plain HTTP, and proxies in front."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mux.proxy import limits
from mux.proxy.front import Front
from tests.certificates import Authority, Issued
from tests.proxy.rig import PATIENCE_S, SETTINGS, Response, Rig, Wire, answering, request
from tests.proxy.test_failures import closed
from tests.proxy.test_messages import eventually
from tests.proxy.test_tunnels import HANDSHAKE, SWITCH

BOTH_LOOPS = True
BOTH_WAYS = True
NAME = "camp.test"
ORIGIN = "https://camp.test:8000"
SECURE = replace(SETTINGS, public_origin=ORIGIN)


class Secure(Rig):
    """A rig whose plane speaks TLS."""

    def __init__(self, directory: Path, authority: Authority, **way: Any) -> None:
        self.file = directory / "public.pem"
        self.authority = authority
        self.write(authority.issue(NAME))
        super().__init__(directory, Front(self.file), **way)

    def write(self, issued: Issued) -> None:
        """Put a certificate where the plane reads it."""
        beside = self.file.with_name("new.pem")
        beside.write_bytes(issued.key + issued.chain)
        beside.replace(self.file)

    async def client(self) -> Wire:
        """A connection over TLS."""
        wire = Wire(
            *await asyncio.open_connection("127.0.0.1", self.port, ssl=self.authority.trusting(), server_hostname=NAME)
        )
        self._clients.append(wire)
        return wire


@pytest.fixture
async def secure(tmp_path: Path, way: dict[str, Any]) -> AsyncIterator[Secure]:
    async with Secure(tmp_path, Authority(), **way) as rig:
        yield rig


def served(wire: Wire) -> x509.Certificate:
    """The certificate that a connection was served with."""
    tls = wire.writer.get_extra_info("ssl_object")
    return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))


async def test_requests_and_large_bodies_pass(secure: Secure) -> None:
    body = bytes(range(256)) * 40_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    secure.alice.script = answering(secure.alice, head + body)
    client = await secure.client()
    for _ in range(2):
        assert (await client.ask(request())).body == body
    await client.send(request(b"PUT /camp/intro/api", b"Origin: http://camp.test:8000",
                              b"Content-Length: %d" % len(body)) + body)  # fmt: skip
    await client.response()
    assert secure.alice.bodies[-1] == body


async def test_a_response_that_ends_with_its_connection_ends_at_once(secure: Secure) -> None:
    secure.alice.script = answering(secure.alice, b"HTTP/1.1 200 OK\r\n\r\nto the end", close=True)
    client = await secure.client()
    await client.send(request())
    await client.head()
    assert await client.rest() == b"to the end"


async def test_a_refusal_arrives_whole(secure: Secure) -> None:
    client = await secure.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: camp.test:8000\r\nHost: other.test\r\n\r\n")
    assert (await client.response()).status == 400


async def test_a_client_that_says_no_more_is_let_go(secure: Secure) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        asked.set()
        await wire.closed()
        left.set()

    secure.alice.script = script
    client = await secure.client()
    await client.send(request())
    async with asyncio.timeout(PATIENCE_S):
        await asked.wait()
        client.close()
        await left.wait()


@pytest.mark.parametrize("who", ["client", "workspace"])
async def test_tunnels_pass_bytes_and_ends(secure: Secure, who: str) -> None:
    ends: asyncio.Queue[Wire] = asyncio.Queue()
    done = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(SWITCH)
        ends.put_nowait(wire)
        await done.wait()

    secure.alice.script = script
    client = await secure.client()
    await client.send(HANDSHAKE)
    assert Response(await client.head()).status == 101
    workspace = await ends.get()
    data = bytes(range(256)) * 5000
    for one, other in ((client, workspace), (workspace, client)):
        sending = asyncio.create_task(one.send(data))
        assert await other.exactly(len(data)) == data
        await sending
    one, other = (client, workspace) if who == "client" else (workspace, client)
    await one.send(b"the last")
    one.close()
    assert await other.rest() == b"the last"
    done.set()


async def test_a_certificate_is_exchanged_under_load_and_no_connection_notices(secure: Secure) -> None:
    first = await secure.client()
    before = served(first)
    stop = asyncio.Event()
    answered = 0

    async def load() -> None:
        nonlocal answered
        while not stop.is_set():
            client = await secure.client()
            for _ in range(3):
                assert (await client.ask(request())).status == 200
                answered += 1
            client.close()

    async with asyncio.timeout(4 * PATIENCE_S):
        loads = [asyncio.create_task(load()) for _ in range(4)]
        serials = {before.serial_number}
        for _ in range(5):
            seen = answered
            secure.write(secure.authority.issue(NAME))
            secure.plane.front.configure(replace(SETTINGS, certificate_sha256="anything else"))
            serials.add(served(await secure.client()).serial_number)
            while answered < seen + 12:
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*loads)
    assert len(serials) == 6
    assert (await first.ask(request())).status == 200
    assert served(first) == before


async def test_a_file_that_does_not_load_changes_nothing(secure: Secure) -> None:
    before = served(await secure.client())
    for broken in (b"", b"no certificate", secure.authority.issue(NAME).key + secure.authority.issue(NAME).chain):
        secure.file.write_bytes(broken)
        secure.plane.front.configure(replace(SETTINGS, certificate_sha256="anything else"))
        assert served(await secure.client()) == before
    secure.file.unlink()
    secure.plane.front.configure(replace(SETTINGS, certificate_sha256="anything else"))
    assert served(await secure.client()) == before


async def test_without_a_certificate_handshakes_are_refused_until_one_comes(tmp_path: Path) -> None:
    authority = Authority()
    rig = Secure(tmp_path, authority)
    rig.file.unlink()
    rig.front = Front(rig.file)
    async with rig:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await rig.client()
        rig.write(authority.issue(NAME))
        rig.plane.front.configure(replace(SETTINGS, certificate_sha256="anything else"))
        assert (await (await rig.client()).ask(request())).status == 200


async def test_a_client_without_a_server_name_is_served(secure: Secure) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    wire = Wire(*await asyncio.open_connection("127.0.0.1", secure.port, ssl=context, server_hostname=""))
    assert (await wire.ask(request())).status == 200
    wire.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_tls_is_refused(secure: Secure) -> None:
    context = secure.authority.trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", secure.port, ssl=context, server_hostname=NAME)


async def test_what_is_no_tls_is_closed_and_the_next_one_served(secure: Secure) -> None:
    plain = Wire(*await asyncio.open_connection("127.0.0.1", secure.port))
    await plain.send(request())
    assert not (await plain.closed()).startswith(b"HTTP/")
    assert (await (await secure.client()).ask(request())).status == 200
    assert closed(secure) == {}


async def test_handshakes_that_take_too_long_are_closed_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_S", 0.1)
    async with Secure(tmp_path, Authority()) as secure:
        silent = [Wire(*await asyncio.open_connection("127.0.0.1", secure.port)) for _ in range(3)]
        await silent[0].send(b"\x16\x03\x01")
        for wire in silent:
            assert await wire.closed() == b""
        await eventually(lambda: closed(secure) == {"handshake": 3})


async def test_a_listener_without_a_descriptor_for_who_comes_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_AGAIN_S", 0.01)
    looked = []

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        looked.append(listener)
        if len(looked) < 4:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return taken(listener)

    taken = socket.socket.accept
    async with Secure(tmp_path, Authority()) as secure:
        monkeypatch.setattr(socket.socket, "accept", accept)
        assert (await (await secure.client()).ask(request())).status == 200


# -- the listener without TLS --------------------------------------------------------------------------------------


@pytest.fixture
async def plain(secure: Secure) -> int:
    """The port of the listener that leads to TLS."""
    sock = socket.create_server(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    secure.plane.front.configure(replace(SECURE, challenges=(("token-1", "token-1.thumbprint"),)))
    await secure.plane.listen(sock, plain=True)
    return port


async def ask(port: int, head: bytes) -> Response:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    response = await wire.ask(head)
    assert await wire.closed() == b""
    return response


async def test_plain_http_leads_to_the_public_address(plain: int, secure: Secure) -> None:
    found = await ask(plain, b"GET /camp/intro/lab?x=%40 HTTP/1.1\r\nHost: camp.test\r\nAccept: text/html\r\n\r\n")
    assert (found.status, found.values("location")) == (308, [f"{ORIGIN}/camp/intro/lab?x=%40"])
    assert secure.reached == []


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (request(b"POST /login", body=b""), 403, "https_only"),
        (request(b"GET /", host=b"Host: evil.test\r\n"), 421, "wrong_host"),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421, "wrong_host"),
        (b"GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: camp.test\r\n\r\n", 404, "no_challenge"),
    ],
)
async def test_nothing_else_is_served_over_plain_http(
    plain: int, secure: Secure, head: bytes, status: int, code: str
) -> None:
    found = await ask(plain, head)
    assert (found.status, found.code) == (status, code)
    assert secure.reached == []


async def test_a_challenge_is_answered_from_the_feed(plain: int, secure: Secure) -> None:
    head = b"GET /.well-known/acme-challenge/token-1 HTTP/1.1\r\nHost: camp.test\r\n\r\n"
    found = await ask(plain, head)
    assert (found.status, found.body) == (200, b"token-1.thumbprint")
    secure.plane.front.configure(SECURE)
    assert (await ask(plain, head)).status == 404


# -- proxies in front ----------------------------------------------------------------------------------------------

FORWARDED = (b"X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.9", b"X-Forwarded-Proto: https")


def forwarded_for(head: bytes) -> list[str]:
    return Response(head).values("x-forwarded-for")


async def test_nobody_in_front_is_believed_unless_listed(rig: Rig) -> None:
    for trusted in ((), ("10.0.0.0/8",)):
        rig.plane.front.configure(replace(SETTINGS, trusted_proxies=trusted))
        await rig.ask(request(b"GET /camp/intro/", *FORWARDED))
        assert forwarded_for(rig.alice.requests[-1]) == ["127.0.0.1"]


async def test_a_listed_proxy_tells_who_the_client_is(rig: Rig) -> None:
    rig.plane.front.configure(replace(SETTINGS, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")))
    client = await rig.client()
    await client.ask(request(b"GET /camp/intro/", *FORWARDED))
    assert forwarded_for(rig.alice.requests[-1]) == ["203.0.113.7"]
    assert rig.alice.requests[-1].count(b"6.6.6.6") == 0
    await client.ask(request(b"GET /login", b"X-Forwarded-For: 203.0.113.8", user=None))
    assert Response(rig.web.requests[-1]).values("x-mux-peer") == ["203.0.113.8"]
    await client.ask(request(b"GET /login", user=None))
    assert Response(rig.web.requests[-1]).values("x-mux-peer") == ["127.0.0.1"]


async def test_plain_http_to_a_listed_proxy_is_led_to_the_public_address(rig: Rig) -> None:
    rig.plane.front.configure(replace(SECURE, trusted_proxies=("127.0.0.1/32",)))
    found = await rig.ask(request(b"GET /camp/?a", b"X-Forwarded-Proto: http"))
    assert (found.status, found.values("location")) == (308, [f"{ORIGIN}/camp/?a"])
    assert rig.reached == []
