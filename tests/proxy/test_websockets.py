"""WebSockets of a library that others wrote, at both ends of a tunnel: every frame arrives as it was sent.

Its protocol does no I/O of its own, so that every octet may be a segment by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tests.proxy.rig import COOKIE, ORIGIN, PATIENCE_S, Rig, Wire

LARGE = bytes(range(256)) * 65536
"""16 MiB."""
DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
Said = tuple[Opcode, bytes, bool]
"""A frame: what kind, what it says, and whether it is the last of its message."""


def whole(kind: Opcode, data: bytes) -> Said:
    """A message of one frame."""
    return kind, data, True


TALKS: dict[str, list[Said]] = {
    "lengths": [whole(Opcode.BINARY, b"x" * size) for size in (0, 1, 125, 126, 127, 65535, 65536)],
    "text": [whole(Opcode.TEXT, "Grüße, мир, 世界, 🌍".encode()), whole(Opcode.TEXT, b"")],
    "fragments": [
        (Opcode.TEXT, b"one ", False),
        (Opcode.CONT, b"", False),
        (Opcode.CONT, b"two ", False),
        (Opcode.CONT, b"three", True),
        whole(Opcode.BINARY, b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    ],
    "pings between fragments": [
        whole(Opcode.PING, b""),
        (Opcode.BINARY, b"one", False),
        whole(Opcode.PING, b"are you there?"),
        (Opcode.CONT, b"two", False),
        whole(Opcode.PING, b"y" * 125),
        whole(Opcode.PONG, b"nobody asked"),
        (Opcode.CONT, b"three", True),
    ],
}


class Peer:
    """One end of a WebSocket.

    Args:
        protocol: of the library.
        wire: its connection.
        segment: so many bytes are sent at once; 0 for all.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol, wire: Wire, segment: int) -> None:
        self.protocol = protocol
        self.frames: list[Frame] = []
        self.ended = False
        self._wire = wire
        self._segment = segment

    async def send(self) -> None:
        """What the protocol wants to say."""
        for data in self.protocol.data_to_send():
            size = self._segment or len(data) or 1
            for start in range(0, len(data), size):
                await self._wire.send(data[start : start + size])
                await asyncio.sleep(0)
            if not data:
                self._wire.writer.write_eof()

    async def receive(self) -> Request | Response | None:
        """Take what has come; the other side's head, if it was in it."""
        head = None
        async with asyncio.timeout(PATIENCE_S):
            data = await self._wire.reader.read(1 << 20)
        if data:
            self.protocol.receive_data(data)
        else:
            self.ended = True
            self.protocol.receive_eof()
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self.frames.append(event)
            else:
                head = event
        return head

    def say(self, said: Said) -> None:
        """Have a frame sent."""
        kind, data, last = said
        if kind in DATA:
            ways = {Opcode.TEXT: self.protocol.send_text, Opcode.BINARY: self.protocol.send_binary}
            ways.get(kind, self.protocol.send_continuation)(data, last)
        else:
            {Opcode.PING: self.protocol.send_ping, Opcode.PONG: self.protocol.send_pong}[kind](data)

    def heard(self, *kinds: Opcode) -> list[Said]:
        """Frames of these kinds that have come."""
        return [(frame.opcode, bytes(frame.data), frame.fin) for frame in self.frames if frame.opcode in kinds]


class Workspace:
    """Answers each frame with the same one.

    Args:
        rig: whose Alice it is.
        segment: see Peer.
    """

    def __init__(self, rig: Rig, segment: int) -> None:
        self._segment = segment
        self.leave: Callable[[Peer], None] | None = None
        self.peer: Peer
        rig.alice.script = self._script

    async def _script(self, wire: Wire) -> None:
        protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()], max_size=None)
        peer = self.peer = Peer(protocol, wire, self._segment)
        while not peer.ended:
            before = len(peer.frames)
            if isinstance(head := await peer.receive(), Request):
                protocol.send_response(protocol.accept(head))
            for frame in peer.frames[before:]:
                if frame.opcode in DATA:
                    peer.say((frame.opcode, bytes(frame.data), frame.fin))
            if self.leave is not None and peer.frames:
                self.leave(peer)
                self.leave = None
            await peer.send()


async def opened(rig: Rig, segment: int, *, deflate: bool = False) -> Peer:
    """A browser's end of a WebSocket to Alice's workspace."""
    extensions = [ClientPerMessageDeflateFactory()] if deflate else None
    uri = parse_uri(ORIGIN.replace("http:", "ws:") + "/camp/intro/ws")
    protocol = ClientProtocol(uri, origin=ORIGIN, extensions=extensions, max_size=None)  # type: ignore[arg-type]
    browser = Peer(protocol, await rig.client(), segment)
    head = protocol.connect()
    head.headers["Cookie"] = f"{COOKIE}=token-of-alice"
    protocol.send_request(head)
    await browser.send()
    answer = await browser.receive()
    while answer is None and not browser.ended:
        answer = await browser.receive()
    assert isinstance(answer, Response) and answer.status_code == 101, answer
    assert bool(protocol.extensions) == deflate
    return browser


async def talked(browser: Peer, talk: list[Said]) -> None:
    """Say it all, and hear each frame come back."""
    wanted = sum(kind in (*DATA, Opcode.PING) for kind, _, _ in talk)
    for said in talk:
        browser.say(said)
        await browser.send()
    while len(browser.frames) < wanted and not browser.ended:
        await browser.receive()


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("segment", [0, 1, 7])
@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
async def test_every_frame_arrives_as_it_was_sent(rig: Rig, talk: list[Said], segment: int, deflate: bool) -> None:
    if segment:
        talk = [said for said in talk if len(said[1]) < 1000]
    workspace = Workspace(rig, segment)
    browser = await opened(rig, segment, deflate=deflate)
    await talked(browser, talk * 2)  # what is compressed depends on what was before
    pings = [said for said in talk * 2 if said[0] is Opcode.PING]
    assert workspace.peer.heard(*DATA) == browser.heard(*DATA) == [said for said in talk * 2 if said[0] in DATA]
    assert workspace.peer.heard(Opcode.PING) == pings
    assert [data for _, data, _ in browser.heard(Opcode.PONG)] == [data for _, data, _ in pings]


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
async def test_a_message_of_16_mib_passes_both_ways(rig: Rig, deflate: bool) -> None:
    workspace = Workspace(rig, 0)
    browser = await opened(rig, 0, deflate=deflate)
    await talked(browser, [whole(Opcode.BINARY, LARGE)])
    assert workspace.peer.heard(*DATA) == browser.heard(*DATA) == [whole(Opcode.BINARY, LARGE)]


@pytest.mark.parametrize("segment", [0, 1])
@pytest.mark.parametrize(("code", "reason"), [(None, ""), (1000, ""), (1001, "bye"), (3000, "x" * 123), (4999, "ä")])
@pytest.mark.parametrize("who", ["browser", "workspace"])
async def test_each_side_hears_why_the_other_leaves(
    rig: Rig, who: str, code: int | None, reason: str, segment: int
) -> None:
    workspace = Workspace(rig, segment)
    browser = await opened(rig, segment)
    if who == "browser":
        browser.protocol.send_close(code, reason)
    else:
        workspace.leave = lambda peer: peer.protocol.send_close(code, reason)
        browser.say(whole(Opcode.TEXT, b"leave"))
    await browser.send()
    while not browser.ended:
        await browser.receive()
        await browser.send()
    await rig.alice.all_closed()
    for peer in (browser, workspace.peer):
        assert (peer.protocol.close_code, peer.protocol.close_reason) == (code or 1005, reason)


async def test_what_a_workspace_says_of_a_broken_frame_arrives(rig: Rig) -> None:
    """Nothing is judged on the way: whose frames they are says what is wrong with them."""
    workspace = Workspace(rig, 0)
    browser = await opened(rig, 0)
    await browser._wire.send(b"\x81\x05hello")  # a browser's frame without a mask
    while not browser.ended:
        await browser.receive()
        await browser.send()
    await rig.alice.all_closed()
    assert (browser.protocol.close_code, workspace.peer.protocol.close_code) == (1002, 1006)
