"""What holds for every exchange, whatever a client and a workspace send. A breach raises AssertionError."""

from __future__ import annotations

import contextlib
import re

import httptools

from tests.proxy.fuzz.stage import Outcome

SECRETS = {"1": b"token secret-alice", "2": b"token secret-bob"}
"""Which workspace gets which token; further ports get none."""
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-5][0-9]{2} ")
_INTERIM = re.compile(rb"HTTP/1\.1 1(?!01)")


class _Requests:
    """What llhttp makes of the bytes that a workspace got."""

    def __init__(self) -> None:
        self.heads: list[list[tuple[bytes, bytes]]] = []

    def on_message_begin(self) -> None:
        self.heads.append([])

    def on_header(self, name: bytes, value: bytes) -> None:
        self.heads[-1].append((name.lower(), value))


def hold(outcome: Outcome) -> None:
    """Look at one outcome."""
    assert not outcome.to_client or _STATUS_LINE.match(outcome.to_client), "the client got no response"
    first = outcome.to_client
    while _INTERIM.match(first):
        first = first.partition(b"\r\n\r\n")[2]
    assert not first or b"\r\ndate:" in first.partition(b"\r\n\r\n")[0].lower(), "a response has no date"
    for name, stream in outcome.to_workspaces:
        seen = _Requests()
        with contextlib.suppress(httptools.HttpParserUpgrade):
            httptools.HttpRequestParser(seen).feed_data(stream)
        assert seen.heads, f"{name} got no request: {stream!r}"
        for head in seen.heads:
            if name != "web":  # what was smuggled in would not have the workspace's token
                _private(head, name)


def _private(fields: list[tuple[bytes, bytes]], workspace: str) -> None:
    """A workspace gets its own token and nobody's session; a further port gets neither."""
    token = [SECRETS[workspace]] if workspace in SECRETS else []
    assert [value for name, value in fields if name == b"authorization"] == token
    cookies = [
        pair.partition(b"=")[0].strip() for name, value in fields if name == b"cookie" for pair in value.split(b";")
    ]
    assert b"mux_session" not in cookies
    names = [name for name, _ in fields]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert names.count(b"x-forwarded-for") == 1


def agree(short: Outcome, strict: Outcome) -> None:
    """What is remembered changes nothing that anybody sees."""
    assert short == strict, f"remembered: {short}, strict: {strict}"
