"""How the daemon logs: one line an event on standard error, JSON unless somebody watches a terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

FIELD_CHARS_MAX = 2_000
"""Longest text of one field; texts from ships and people are hostile, and may be long."""
TRACEBACK_CHARS_MAX = 8_000
"""Longest traceback; a cause and what it caused fit."""

STRANGERS_FAULTS = (HttpProcessingError, RequestPayloadError, ConnectionError)
"""What a malformed request raises inside aiohttp; it is answered with 400, and is no defect."""


def set_up_logs(*, terminal: bool = False) -> None:
    """Configure structlog for this process.

    Args:
        terminal: whether what it writes is passed on to one.
    """
    stream = Unbreakable(sys.stderr)
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if terminal or stream.isatty():
        colours = not os.environ.get("NO_COLOR")  # no-color.org
        renderer = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _bounded,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[Libraries()], force=True)


class Libraries(logging.Handler):
    """What libraries log, as lines of ours.

    aiohttp logs each request that it cannot parse, with a traceback and the bytes in question. Anybody can send those
    as often as they like, and a token may stand in them: nothing of it is kept.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler. Never raises."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, STRANGERS_FAULTS):
            return
        with contextlib.suppress(Exception):
            text = record.getMessage()
            structlog.get_logger().log(record.levelno, "library", logger=record.name, text=text, exc_info=error)


class Unbreakable(io.TextIOBase):
    """A stream that loses what it cannot write: a full disk or a reader that is gone must not end the event.

    Args:
        stream: where to write; None where a process was started without one.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        """Whether somebody watches."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def write(self, text: str) -> int:
        """As for any stream, but never raises; a closed stream is a ValueError."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As above."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


def _bounded(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        if not isinstance(value, str) or len(value) <= FIELD_CHARS_MAX:
            continue
        if key == "exception":  # a traceback says what happened at its end
            event[key] = f"({len(value)} characters) …{value[-TRACEBACK_CHARS_MAX:]}"
        else:
            event[key] = f"{value[:FIELD_CHARS_MAX]}… ({len(value)} characters)"
    return event
