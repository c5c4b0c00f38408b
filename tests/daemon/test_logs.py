"""A log line is never worth the event: whatever happens to the stream, the process goes on."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from mux.daemon.logs import FIELD_CHARS_MAX, Unbreakable

PROGRAM = """
import os, sys
{before}
from mux.daemon.logs import set_up_logs
set_up_logs()
import structlog
log = structlog.get_logger()
for _ in range(3):
    log.error("something happened", text="x" * 100_000)
try:
    raise ValueError("the end of the story")
except ValueError:
    log.exception("failed")
sys.stdout.write("went on")
"""


@pytest.mark.parametrize(
    "before",
    [
        "sys.stderr.close()",
        "os.close(2)",
        "sys.stderr = None",
        "sys.stderr = open('/dev/full', 'w')",
        "r, w = os.pipe(); os.close(r); os.dup2(w, 2)",
    ],
)
def test_a_stream_that_cannot_be_written_ends_nothing(before: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(before=before)], stdout=subprocess.PIPE, check=False)
    assert done.stdout == b"went on"


def test_texts_are_bounded_and_the_end_of_a_traceback_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(before="")], capture_output=True, check=True, text=True)
    lines = done.stderr.splitlines()
    assert all(len(line) < 2 * FIELD_CHARS_MAX for line in lines[:3])
    assert "the end of the story" in lines[3]


def test_what_can_be_written_is() -> None:
    stream = io.StringIO()
    out = Unbreakable(stream)
    assert out.write("hello") == 5
    out.flush()
    assert stream.getvalue() == "hello"
    assert not out.isatty()
