"""What every process with a data plane needs, whatever it serves: a loop, a log, and a collector that seldom runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any, Final

import structlog

LOOPS: Final = ("auto", "uvloop", "asyncio")
"""Event loops: ``auto`` is uvloop where it is installed."""


def run(work: Coroutine[Any, Any, None], loop: str = "auto") -> None:
    """Run to the end, on one of `LOOPS`; an interrupt ends it quietly.

    Raises:
        ImportError: ``uvloop`` is wanted and not installed.
    """
    factory = None
    if loop != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - optional: plain asyncio works too
        except ImportError:
            if loop == "uvloop":
                work.close()
                raise
        else:
            factory = uvloop.new_event_loop
    _collect_rarely()
    with asyncio.Runner(loop_factory=factory) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(work)


def _collect_rarely() -> None:
    """Let cycles wait: connections are freed when they end, and a walk over thousands of them stops all of them."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def log_to_stderr(name: str) -> None:
    """Log to standard error, with the process's name: as JSON lines, or readably on a terminal."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stderr is not None and sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))  # no-color.org
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=name)
