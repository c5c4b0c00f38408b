"""A log line is never worth the event: whatever happens to the stream, the process goes on."""

from __future__ import annotations

import io
import json
import os
import pty
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


STRANGER = """
import asyncio, logging
from mux.daemon.logs import set_up_logs
set_up_logs()
from aiohttp import web

async def main():
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    writer.write(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nAuthorization : Bearer mux_secret\\r\\n\\r\\n")
    print((await reader.read()).split(b"\\r\\n")[0].decode())
    await runner.cleanup()
    logging.getLogger("asyncio").error("a task failed", exc_info=ValueError("why it did"))

asyncio.run(main())
"""


def test_what_strangers_send_is_not_logged_and_what_libraries_say_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", STRANGER], capture_output=True, check=True, text=True)
    assert done.stdout == "HTTP/1.0 400 Bad Request\n"
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["logger"], line["text"]) == ("asyncio", "a task failed")
    assert "why it did" in line["exception"]


@pytest.mark.parametrize(("no_color", "coloured"), [("1", False), ("", True)])
def test_a_terminal_that_wants_no_colours_gets_none(no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"NO_COLOR": no_color, "TERM": "xterm"}
    program = (
        "from mux.daemon.logs import set_up_logs; set_up_logs(); import structlog; structlog.get_logger().info('x')"
    )
    subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096)
    os.close(ours)
    assert b"info" in shown
    assert (b"\x1b[" in shown) is coloured
