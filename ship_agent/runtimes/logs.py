"""Log tails that may be shown to people: bounded, readable, without secrets.

Pure functions, apart from `read_end`. Rules: redact first and cut afterwards, so that no cut leaves half a secret; a
log is hostile text, so escape sequences and control characters go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ship_agent.protocol.messages import LOG_TAIL_CHARS_MAX

READ_BYTES = 256 * 1024
"""Bytes of a log that are looked at: sixteen times what is shown."""
SECRET_CHARS_MIN = 4
"""A shorter value is no secret, and taking it out would leave the log unreadable."""
SECRET_CHARS_MAX = 8192
"""The longest secret that the protocol carries."""
LINE_CHARS_MAX = 2000
"""A longer line (a printed array, a progress bar) is cut, so that fifty lines are worth reading."""
REDACTED = "[redacted]"

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def read_end(path: Path) -> str:
    """The end of a log and, when that is short, of the part before it that was set aside. Undecodable bytes replaced.

    A line that the window cuts in half is left out, since half of a secret would not be recognised.
    """
    data = b""
    for part in (path, path.with_name(f"{path.name}.1")):
        try:
            with part.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                left = READ_BYTES - len(data)
                file.seek(max(0, size - left))
                piece = file.read(left)
        except OSError:
            continue
        data = piece + data
        if size > left:
            first, newline, rest = data.partition(b"\n")
            return (rest if newline else first[SECRET_CHARS_MAX:]).decode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def tail(text: str, lines: int, secrets: Iterable[str]) -> str:
    """The last ``lines`` lines, without the values of ``secrets``, at most LOG_TAIL_CHARS_MAX characters."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    # Controls go before redacting: one printed into the middle of a secret must not hide it.
    text = _CONTROLS.sub("", text.replace("\r", "\n"))
    for value in sorted(_values(secrets), key=len, reverse=True):
        text = text.replace(value, REDACTED)
    kept = [line if len(line) <= LINE_CHARS_MAX else f"{line[:LINE_CHARS_MAX]}…" for line in text.rstrip().split("\n")]
    return "\n".join(kept[-lines:])[-LOG_TAIL_CHARS_MAX:]


def _values(secrets: Iterable[str]) -> set[str]:
    """What to look for: each secret, and each line of one that has several (a key in PEM)."""
    found: set[str] = set()
    for secret in secrets:
        shown = _CONTROLS.sub("", secret.replace("\r\n", "\n").replace("\r", "\n"))
        found.update(value for value in (shown, *shown.split("\n")) if len(value.strip()) >= SECRET_CHARS_MIN)
    return found
