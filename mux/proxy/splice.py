"""Large bodies from socket to socket inside the kernel (splice(2)), past this process's memory.

Owns the pipe between the two sockets, and both of their descriptors as duplicates, since the transports keep theirs.
Knows nothing of HTTP but how many bytes are left. Rules: the source's transport is not read while this runs, and
nothing waits in the sink's transport when it starts, so the bytes stay in order; whoever resumes reading must ask
whether a splice runs; a pipe that is not empty at the end is never used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import Callable

from mux.proxy import limits

_splice = getattr(os, "splice", None)
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)


def can_splice(transport: asyncio.BaseTransport) -> bool:
    """Whether the bytes of a transport are the bytes of its socket, and the platform can move them."""
    plain = transport.get_extra_info("sslcontext") is None
    return _splice is not None and plain and transport.get_extra_info("socket") is not None


class Pipes:
    """Pipes that no splice uses at the moment.

    Args:
        number: of splices at once.
    """

    def __init__(self, number: int) -> None:
        self._left = number
        self._free: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """Read end and write end, to be given back. Raises OSError if there are no descriptors left."""
        if self._left <= 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        ends = self._take()
        self._left -= 1
        return ends

    def _take(self) -> tuple[int, int]:
        if self._free:
            return self._free.pop()
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if _F_SETPIPE_SZ is not None:
            with contextlib.suppress(OSError):  # the user's share of pipe memory is used up: a small pipe works too
                fcntl.fcntl(ends[1], _F_SETPIPE_SZ, limits.SPLICE_PIPE_BYTES)
        return ends

    def give(self, ends: tuple[int, int], *, empty: bool) -> None:
        """Keep a pipe for the next one, if nothing is left in it."""
        self._left += 1
        if empty and len(self._free) < limits.SPLICE_PIPES_IDLE_MAX:
            self._free.append(ends)
        else:
            _close(ends)

    def close(self) -> None:
        """Close all."""
        while self._free:
            _close(self._free.pop())


def _close(ends: tuple[int, int]) -> None:
    for end in ends:
        os.close(end)


class Splice:
    """One body on its way.

    Args:
        pipes: where pipes come from.
        source: transport that the body comes from; its reading is paused, and stays so.
        sink: transport that it goes to.
        left: bytes that are still to come.
        moved: told after each step: whether the sink is full.
        done: told at the end: None if all bytes are on their way; else what went wrong, ``source`` or ``sink``.

    Raises:
        OSError: when there are no descriptors left; nothing has begun then.
    """

    __slots__ = (
        "_done",
        "_from",
        "_full",
        "_in_pipe",
        "_left",
        "_loop",
        "_moved",
        "_pipe",
        "_pipes",
        "_running",
        "_sink",
        "_to",
    )

    def __init__(
        self,
        pipes: Pipes,
        source: asyncio.Transport,
        sink: asyncio.Transport,
        left: int,
        *,
        moved: Callable[[bool], None],
        done: Callable[[str | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes = pipes
        self._sink = sink
        self._left = left
        self._in_pipe = 0
        self._moved = moved
        self._done = done
        self._full = False
        self._running = False
        self._pipe: tuple[int, int] | None = pipes.take()
        try:
            self._from = os.dup(source.get_extra_info("socket").fileno())
            try:
                self._to = os.dup(sink.get_extra_info("socket").fileno())
            except OSError:
                os.close(self._from)
                raise
        except OSError:
            pipes.give(self._pipe, empty=True)
            self._pipe = None
            raise
        source.pause_reading()
        sink.set_write_buffer_limits(high=0)  # so that its protocol is told when nothing is left in it

    def start(self) -> None:
        """Begin once the sink's transport has written what it holds."""
        if self._pipe is not None and not self._running and self._sink.get_write_buffer_size() == 0:
            self._running = True
            self._loop.add_reader(self._from, self._fill)

    def stop(self) -> None:
        """Let go of everything; twice does no harm."""
        if self._pipe is None:
            return
        self._loop.remove_reader(self._from)
        self._loop.remove_writer(self._to)
        os.close(self._from)
        os.close(self._to)
        self._pipes.give(self._pipe, empty=self._in_pipe == 0)
        self._pipe = None
        if not self._sink.is_closing():
            self._sink.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_HIGH, limits.WRITE_BUFFER_BYTES_LOW)

    @property
    def held(self) -> int:
        """Bytes in the pipe."""
        return self._in_pipe

    @property
    def left(self) -> int:
        """Bytes that have not reached the sink's socket."""
        return self._left + self._in_pipe

    def _fill(self) -> None:
        assert self._pipe is not None and _splice is not None  # noqa: S101 - the loop is told to forget us at the end
        try:
            size = _splice(self._from, self._pipe[1], min(self._left, limits.SPLICE_PIPE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            self._end("source")
            return
        if size == 0:
            self._end("source")
            return
        self._left -= size
        self._in_pipe += size
        self._pour()

    def _pour(self) -> None:
        assert self._pipe is not None and _splice is not None  # noqa: S101 - as above
        full = False
        while self._in_pipe:
            try:
                self._in_pipe -= _splice(self._pipe[0], self._to, self._in_pipe)
            except BlockingIOError:
                full = True
                break
            except OSError:
                self._end("sink")
                return
        if full != self._full:
            self._full = full
            if full:
                self._loop.remove_reader(self._from)
                self._loop.add_writer(self._to, self._pour)
            else:
                self._loop.remove_writer(self._to)
                if self._left:
                    self._loop.add_reader(self._from, self._fill)
        self._moved(full)
        if not self.left:
            self._end(None)

    def _end(self, fault: str | None) -> None:
        self.stop()
        self._done(fault)
