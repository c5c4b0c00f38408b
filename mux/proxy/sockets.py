"""Socket options and kernel counters that transports do not offer.

Owns nothing but the option names; works on what the platform has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct

from mux.proxy import limits

_LINGER_NOT = struct.pack("ii", 1, 0)
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
_TCP_INFO = getattr(socket, "TCP_INFO", None)
# struct tcp_info of Linux: tcpi_bytes_acked and tcpi_bytes_received follow 8 octets, 24 words and two rates.
_TCP_INFO_BYTES = struct.Struct("=120xQQ")


def _tcp_socket(transport: asyncio.BaseTransport) -> socket.socket | None:
    sock: socket.socket | None = transport.get_extra_info("socket")
    return sock if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) else None


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find dead peers of an idle connection; nothing is sent inside the stream.

    Args:
        sock: a connection, or a listening socket, whose connections inherit it.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", limits.KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", limits.KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", limits.KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def keep_transport_alive(transport: asyncio.BaseTransport) -> None:
    """The same for a transport that no listening socket of ours has taken."""
    theirs = _tcp_socket(transport)
    if theirs is None:
        return
    # uvloop's sockets make one of these for each option.
    sock = socket.socket(theirs.family, theirs.type, theirs.proto, theirs.fileno())
    try:
        keep_alive(sock)
    finally:
        sock.detach()


def bound_unacknowledged(transport: asyncio.BaseTransport, bound_ms: int) -> None:
    """Let the kernel end a connection whose bytes nobody acknowledges for so many milliseconds."""
    sock = _tcp_socket(transport)
    if sock is not None and _TCP_USER_TIMEOUT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, bound_ms)


def reset(transport: asyncio.Transport) -> None:
    """Close with a reset: an orderly end would complete a response that has no length (RFC 9112 section 8)."""
    sock = None if transport.is_closing() else _tcp_socket(transport)
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def silent(transport: asyncio.BaseTransport) -> bool:
    """Whether nothing has come on a connection that is read, nor its end, as the kernel knows it now."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


def unread(transport: asyncio.BaseTransport, bound: int) -> list[bytes]:
    """What the kernel holds of a connection that has just ended, for use in ``connection_lost`` only.

    A transport that cannot write any more does not read either, though an answer may have come before the reset.

    Args:
        transport: whose socket is not closed yet.
        bound: so many bytes at most.
    """
    sock: socket.socket | None = transport.get_extra_info("socket")
    parts: list[bytes] = []
    with contextlib.suppress(OSError):
        while sock is not None and bound > 0 and (data := os.read(sock.fileno(), bound)):
            parts.append(data)
            bound -= len(data)
    return parts


def bytes_moved(transport: asyncio.BaseTransport) -> int:
    """Bytes that the peer has acknowledged or sent so far; 0 where the kernel does not say."""
    sock = _tcp_socket(transport)
    if sock is None or _TCP_INFO is None:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _TCP_INFO_BYTES.size)
    except OSError:
        return 0
    if len(info) < _TCP_INFO_BYTES.size:
        return 0
    acked, received = _TCP_INFO_BYTES.unpack(info)
    return int(acked) + int(received)
