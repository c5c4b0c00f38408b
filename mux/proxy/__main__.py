"""``python -m mux.proxy``: one proxy process.

Owns the command line, the log and the signals. With a feed it is started by the supervisor, which owns the listening
socket; with ``--static`` it stands alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from pathlib import Path

import structlog

from mux.proxy.descriptors import DescriptorError
from mux.proxy.feedclient import FeedClient
from mux.proxy.front import Front
from mux.proxy.plane import Plane
from mux.proxy.process import LOOPS, log_to_stderr, run
from mux.proxy.static import StaticError, run_static, split_address, stopped

log = structlog.get_logger("mux.proxy")

EXIT_CONFIG = 78
"""``EX_CONFIG`` of sysexits(3): the supervisor does not start it again, since it would end the same way."""


async def run_fed(
    listen_fd: int,
    feed: str,
    web: str,
    *,
    http_fd: int | None = None,
    ready_fd: int | None = None,
    certificate: Path | None = None,
    memo: bool = True,
    splice: bool = True,
) -> None:
    """Serve an inherited listening socket until SIGTERM or SIGINT.

    Args:
        listen_fd: number of the socket's descriptor; the supervisor and other workers have their own duplicates.
        feed: path of the feed's Unix socket.
        web: path of the Unix socket of the control process's pages.
        http_fd: the same for the listener that leads browsers to TLS; None for none.
        ready_fd: pipe that gets one byte when this process serves.
        certificate: file with key and chain that ``listen_fd`` is served with; None for plain HTTP.
        memo: whether heads are remembered.
        splice: whether large bodies go through the kernel.
    """
    plane = Plane(front=Front(certificate), memo=memo, splice=splice)
    plane.spawn(FeedClient(plane, feed, web).run(), "proxy-feed")
    await plane.first_fed()
    sock = socket.socket(fileno=listen_fd)
    sock.setblocking(False)
    await plane.listen(sock)
    if http_fd is not None:
        plain = socket.socket(fileno=http_fd)
        plain.setblocking(False)
        await plane.listen(plain, plain=True)
    log.info("proxy serves", pid=os.getpid())
    if ready_fd is not None:
        with contextlib.suppress(OSError):  # nobody waits for it
            os.write(ready_fd, b".")
    await stopped()
    log.info("proxy drains")
    await plane.drain()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and serve. Returns 0 after SIGTERM.

    Exits with 2 for a wrong command line or file, with EXIT_CONFIG where the system does not let a worker serve.
    """
    parser = argparse.ArgumentParser(prog="python -m mux.proxy", description="One proxy process of mux.")
    parser.add_argument("--listen-fd", type=int, help="inherited listening socket")
    parser.add_argument("--feed", help="Unix socket of the feed")
    parser.add_argument("--web", help="Unix socket of the control process's pages")
    parser.add_argument("--http-fd", type=int, help="inherited listening socket that leads browsers to TLS")
    parser.add_argument("--certificate", type=Path, help="file with key and chain: serve TLS")
    parser.add_argument("--ready-fd", type=int, help="pipe that is told when this process serves")
    parser.add_argument("--name", default="proxy", help="name in the log")
    parser.add_argument("--static", type=Path, help="routes file: serve alone, without a feed")
    parser.add_argument("--listen", default="127.0.0.1:8000", help="HOST:PORT with --static")
    parser.add_argument("--loop", choices=LOOPS, default="auto", help="event loop")
    parser.add_argument("--no-splice", action="store_true", help="no splice(2); what passes is the same")
    parser.add_argument("--no-memo", action="store_true", help="remember no heads; what passes is the same")
    options = parser.parse_args(arguments)
    log_to_stderr(options.name)
    if options.static is not None:
        try:
            host, port = split_address(options.listen)
            work = run_static(options.static, host, port, memo=not options.no_memo, splice=not options.no_splice)
            run(work, options.loop)
        except (StaticError, DescriptorError, ValueError, OSError) as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        return 0
    if options.listen_fd is None or not options.feed or not options.web:
        parser.error("--listen-fd, --feed and --web belong together")
    work = run_fed(
        options.listen_fd,
        options.feed,
        options.web,
        http_fd=options.http_fd,
        ready_fd=options.ready_fd,
        certificate=options.certificate,
        memo=not options.no_memo,
        splice=not options.no_splice,
    )
    try:
        run(work, options.loop)
    except DescriptorError as error:
        parser.exit(EXIT_CONFIG, f"mux: {options.name}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
