"""How the daemon logs: one line an event on standard error, JSON unless somebody watches a terminal."""

from __future__ import annotations

import logging
import sys

import structlog

FIELD_CHARS_MAX = 2_000
"""Longest text of one field; texts from ships and people are hostile, and may be long."""


def set_up_logs() -> None:
    """Configure structlog for this process."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _bounded,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _bounded(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > FIELD_CHARS_MAX:
            event[key] = f"{value[:FIELD_CHARS_MAX]}… ({len(value)} characters)"
    return event
