"""Reading files that people name: bounded, never blocking on what is no file, with faults instead of errors."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mux.config.faults import ConfigError, Fault


def read_bounded(path: Path, *, key: str, bytes_max: int, what: str) -> bytes:
    """All of a regular file, or a ConfigError: missing, not readable, no file, too large.

    Args:
        path: of the file.
        key: what the fault is about.
        bytes_max: larger files are refused.
        what: what should be there, for the fault.
    """
    allowed = f"{what}, a readable file of at most {bytes_max} bytes"
    try:
        # Not blocking: a FIFO must not hold up the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ConfigError([Fault(key, "no such file", allowed)]) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "a path that is none").lower()
        raise ConfigError([Fault(key, reason, allowed)]) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError([Fault(key, "something that is not a file", allowed)])
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(bytes_max + 1)
        except OSError as error:
            raise ConfigError([Fault(key, (error.strerror or "an error").lower(), allowed)]) from None
    if len(data) > bytes_max:
        raise ConfigError([Fault(key, "a larger file", allowed)])
    return data


def decoded(data: bytes, key: str) -> str:
    """UTF-8 as text, a byte order mark left out. Raises ConfigError with the line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError([Fault(key, f"bytes that are not UTF-8 in line {line}", "text in UTF-8")]) from None
