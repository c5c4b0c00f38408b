"""What is measured: the rows, and one sample of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.proxy import load
from bench.proxy.targets import Target

FOREIGN_MAX = 0.10
"""A sample in which others had more than this share of the machine is taken once more."""
TRIES_MAX = 4
"""Then the best of them stands, and is marked: a machine that others use will not be quiet the fifth time."""

SMALL, TWO, CHUNKED, BODY = (f"/camp/intro/{name}" for name in ("small", "2k", "chunked/2k", "body/64m"))
SIZES = (("200 B", SMALL), ("2 KB", TWO))
ROWS = {
    **{f"GET {size}, c={count}": ("one", path, count) for size, path in SIZES for count in (1, 64, 512, 2000)},
    **{f"GET 2 KB chunked, c={count}": ("one", CHUNKED, count) for count in (1, 64, 512, 2000)},
    **{f"GET {size}, eight heads, c={count}": ("eight", path, count) for size, path in SIZES for count in (64, 512)},
    **{f"GET {size}, never-seen heads, c={count}": ("new", path, count) for size, path in SIZES for count in (64, 512)},
    **{f"{kind.upper()} 2 KB, c={count}": (kind, SMALL, count) for kind in ("post", "put") for count in (64, 512)},
    **{f"64 MiB down, {count} at once": ("one", BODY, count) for count in (1, 8)},
    **{f"64 MiB up, {count} at once": ("upload", SMALL, count) for count in (1, 8)},
}
TLS_ROWS = {
    "TLS: GET 200 B, c=64": ("one", SMALL, 64),
    "TLS: GET 200 B, c=512": ("one", SMALL, 512),
    "TLS: handshake and GET, c=64": ("close", SMALL, 64),
}
SOCKETS = {
    "WebSocket 128 B, 1": (1, 128),
    "WebSocket 128 B, 200": (200, 128),
    "WebSocket 16 KB, 1": (1, 16384),
    "WebSocket 16 KB, 200": (200, 16384),
}
BODIES_TIMES = 2
"""So much longer are samples of large bodies, which count when they are complete."""
MANY, MANY_TIMES = 2000, 4
"""So much longer are samples with so many connections: in the first seconds every thirtieth answer is the first on its
connection, so that a p99 would say how fast connections open, which a table of its own says."""


def measure(target: Target, row: str, directory: Path, core: int, seconds: float) -> load.Sample:
    """One sample of one row: the first in which others were quiet, or the best of TRIES_MAX."""
    best = once(target, row, directory, core, seconds)
    for _ in range(TRIES_MAX - 1):
        if best.foreign <= FOREIGN_MAX:
            break
        best = min(best, once(target, row, directory, core, seconds), key=lambda sample: sample.foreign)
    return best


def once(target: Target, row: str, directory: Path, core: int, seconds: float) -> load.Sample:
    """One sample of one row, whatever else the machine does."""
    if row in SOCKETS:
        connections, size = SOCKETS[row]
        return load.messages(target, core, connections, size, seconds)
    kind, path, connections = (TLS_ROWS if target.tls else ROWS)[row]
    if row.startswith("64 MiB"):
        seconds *= BODIES_TIMES
    if connections >= MANY:
        seconds *= MANY_TIMES
    return load.http(target, directory, core, kind=kind, path=path, connections=connections, seconds=seconds)


def wanted(targets: list[Target], number: int) -> Iterator[tuple[str, Target]]:
    """Rows and targets of one round, in turn."""
    for row in (*ROWS, *SOCKETS, *TLS_ROWS):
        for target in targets:
            if target.tls == (row in TLS_ROWS) and not (target.once and number):
                yield row, target
