"""Bytes out of bytes: a small mutation fuzzer's ways to spoil a message. Every choice is a seeded generator's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

TOKENS = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\x00", b":", b";", b",", b"\x0b", b"\x7f", b"\x80",
    b"\xff", b"chunked", b"Chunked", b"xchunked", b"chunked, chunked", b"identity", b"gzip", b"0", b"00", b"+5",
    b"-1", b"0x5", b"5", b"5, 5", b"99999999999999999999", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
    b"Content-Length:5 \r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer_Encoding: chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"Host: camp.test:8000\r\n",
    b"Host: evil.test\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: Host\r\n",
    b"Connection: Cookie, X-A\r\n", b"X-A: b\r\n", b" folded\r\n", b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HEAD ", b"GET ", b"PUT ", b"OPTIONS * ",
    b"http://camp.test:8000", b"//", b"\\", b"#", b"?", b"%2e%2e", b"..", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n",
    b"Set-Cookie: a=b; Path=/\r\n", b"Set-Cookie: mux_session=x\r\n", b"Location: http://127.0.0.1:1/\r\n",
    b"Service-Worker-Allowed: /\r\n", b"Cookie: mux_session=token-of-bob\r\n",
    b"Cookie: a=b; mux_session=token-of-alice\r\n", b"Trailer: x\r\n",
)  # fmt: skip
"""What makes messages mean something else."""


def mutated(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """``data`` with up to four changes; ``others`` to take parts from."""
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        data = dice.choice(_WAYS)(dice, data, others)
    return data[:4096]


def pieces(dice: random.Random, data: bytes) -> list[bytes]:
    """``data`` as a network might deliver it."""
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 1, 2, 5))))
    found = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [piece for piece in found if piece]


def _insert(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(TOKENS) + data[at:]


def _insert_line(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = data.find(b"\r\n", dice.randrange(len(data) + 1)) + 2
    return data[:at] + dice.choice(TOKENS) + data[at:] if at > 1 else data


def _octet(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]


def _cut(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at + dice.choice((1, 1, 2, 4, 16)) :]


def _double(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\r\n")
    at = dice.randrange(len(lines))
    return b"\r\n".join([*lines[: at + 1], *lines[at:]])


def _swap(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\r\n")
    one, two = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\r\n".join(lines)


def _case(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at : at + 8].swapcase() + data[at + 8 :]


def _splice(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = dice.choice(others)
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


def _follow(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data + dice.choice(others)


_WAYS: tuple[Callable[[random.Random, bytes, Sequence[bytes]], bytes], ...] = (
    _insert,
    _insert,
    _insert_line,
    _insert_line,
    _octet,
    _cut,
    _double,
    _swap,
    _case,
    _splice,
    _follow,
)
