"""``python -m bench.proxy.micro``: what the parts of a request's way cost, each by itself, in microseconds.

A browser's head of 741 bytes and a workspace's answer of 180. The least of several rounds counts, since everything else
that runs only ever makes it worse: so the figures of two runs on one machine may be compared, also where it is busy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import timeit
from collections.abc import Callable, Coroutine
from typing import Any

from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import Route, RouteTable, SessionEntry
from mux.proxy.memo import Memo
from mux.proxy.request import PLAIN_LINE, WRITE_LINE, _second_opinion, parse_request
from mux.proxy.response import parse_response
from mux.proxy.rewrite import Peer, client_head, upstream_head
from mux.proxy.routing import FeedRouter
from mux.proxy.upstream import Pools

ROUNDS = 300
CALLS = 50
TOKEN = "5mYQmRPzXo0Hc3bqkbyk3vNfnlFxD6mRrZyfY3c0n3Q"
LINE = b"GET /camp/intro/api/contents/intro.ipynb?type=notebook&content=0 HTTP/1.1\r\n"
REST = (
    b"Host: camp.test:8000\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0\r\n"
    b"Accept: application/json, text/plain, */*\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nX-Requested-With: XMLHttpRequest\r\n"
    b"Cookie: _xsrf=2|5a0b6e6c|b2d9c4a6c6a8d1c0a4f4c0b2f5e1a7d3|1762550000; mux_session=" + TOKEN.encode() + b"\r\n"
    b"Referer: http://camp.test:8000/camp/intro/lab/tree/intro.ipynb\r\nSec-Fetch-Dest: empty\r\n"
    b"Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nX-Turn: %d\r\n\r\n"
)
SAVE = LINE.replace(b"GET", b"PUT") + REST.replace(
    b"X-Turn: %d\r\n", b"Origin: http://camp.test:8000\r\nContent-Length: %d\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: TornadoServer/6.5\r\nContent-Type: application/json\r\n"
    b'Date: Fri, 20 Nov 2026 12:00:00 GMT\r\nEtag: "abc"\r\nX-Turn: %d\r\nContent-Length: 200\r\n\r\n'
)


def least_us(work: Callable[[], object]) -> float:
    """Microseconds of one call, in the best of the rounds."""
    return round(min(timeit.repeat(work, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6, 2)


def undialled(work: Coroutine[Any, Any, None], name: str) -> None:
    """Nothing is dialled here."""
    work.close()
    raise AssertionError(name)


class Parts:
    """Everything that a request meets, without sockets."""

    def __init__(self) -> None:
        user, key = UserId("ada"), SessionHash(hashlib.sha256(TOKEN.encode()).hexdigest())
        route = Route(WorkspaceId("ws"), "192.0.2.1", 9000, "of-the-workspace")
        project = ProjectName("intro")
        table = RouteTable({key: SessionEntry(user, time.time() + 86_400)}, {(user, project): route})
        self.router = FeedRouter(
            FeedSettings("http://camp.test:8000", "mux_session", "Bench", (project,)), table, "web"
        )
        self.memo = Memo(self.router.session_cookie, Pools(64, undialled))
        self.peer = Peer.of("192.0.2.7")
        self.now = time.time()
        self.turn = 0

    def new_head(self) -> bytes:
        """A head that never was before: one of its lines is new."""
        self.turn += 1
        return LINE + REST % self.turn

    def strictly(self, head: bytes) -> bytes:
        """The strict way to the upstream's head."""
        request = parse_request(head)
        return upstream_head(request, self.router.route(request, self.now), self.peer)

    def remembered(self, head: bytes) -> bytes:
        """The short way, as `mux.proxy.quick` goes it."""
        match = PLAIN_LINE.match(head)
        assert match is not None
        end, place = match.end(), self.router.place(match[3])
        known = self.memo.heads.young.get((self.peer.ip, head[end:])) or self.memo.head(self.peer, head, end)
        assert known is not None
        way = known.ways.get(place)
        if way is None:
            known.peer = self.peer
            way = self.memo.way(known, place, self.router, method=match[1], target=match[2], now=self.now)
        assert way is not None
        return head[:end] + way.rest

    def write_remembered(self, head: bytes) -> bytes:
        """The same of a save."""
        match = WRITE_LINE.match(head)
        assert match is not None
        place, known = self.router.place(match[3]), self.memo.write(self.peer, head[match.end() :])
        assert known is not None
        way = known.ways.get(place)
        if way is None:
            known.peer = self.peer
            way = self.memo.way(known, place, self.router, method=match[1], target=match[2], now=self.now)
        assert way is not None
        return match[0] + way.rest

    def answer_strictly(self, head: bytes) -> bytes:
        """The strict way to the client's head."""
        request = self._request
        return client_head(parse_response(head, b"GET"), request, self._destination, close=False, date=b"")

    def measure(self) -> dict[str, float]:
        """All parts."""
        one = LINE + REST % 0
        self._request = parse_request(one)
        self._destination = self.router.route(self._request, self.now)
        answer = ANSWER % 0
        save = SAVE % 2048
        for _ in range(3):
            assert self.remembered(one) == self.strictly(one)
            assert self.write_remembered(save) == self.strictly(save)
            self.memo.answer(answer, head_only=False)
        answers, lengths = iter(range(1, 1 << 60)), iter(range(1, 1 << 40))
        making = least_us(self.new_head)
        return {
            "request, strict": least_us(lambda: self.strictly(one)),
            "request, strict: llhttp's part": least_us(lambda: _second_opinion(one)),
            "request, known head": least_us(lambda: self.remembered(one)),
            "request, new head of known lines": round(least_us(lambda: self.remembered(self.new_head())) - making, 2),
            "save, strict": least_us(lambda: self.strictly(save)),
            "save, known head": least_us(lambda: self.write_remembered(save)),
            "save, known lines and a new length": least_us(lambda: self.write_remembered(SAVE % next(lengths))),
            "answer, strict": least_us(lambda: self.answer_strictly(answer)),
            "answer, known head": least_us(
                lambda: self.memo.answers.young.get(answer) or self.memo.answer(answer, head_only=False)
            ),
            "answer, new head of known lines": least_us(
                lambda: self.memo.answer(ANSWER % next(answers), head_only=False)
            ),
        }


def main() -> None:
    """Measure, and print JSON."""
    argparse.ArgumentParser(prog="python -m bench.proxy.micro", description=__doc__).parse_args()
    print(json.dumps(Parts().measure(), indent=2))


if __name__ == "__main__":
    main()
