"""Sees to it that a canary is removed, whatever becomes of the command that wanted it.

Owns two ends of a pipe. The canary flies in a keeper, a process in a session of its own: it hears no Ctrl-C, and when
nobody holds the other end of its standard input any more, since the command was interrupted, ended or killed, it
removes the ship before it ends. Rule: one canary of an event file at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import structlog

from mux.config import ConfigError, load
from mux.preflight.canary import CHECK, canary
from mux.preflight.finding import Finding, Outcome, failure, warning


def flown(config: Path, environ: Mapping[str, str]) -> Finding:
    """Have a keeper fly a canary. When this is interrupted, it waits until the ship is removed.

    Args:
        config: the event file's path.
        environ: of the keeper.
    """
    with _alone(config) as lock:
        if lock is None:
            return warning(CHECK, "not launched: another canary of this event file is under way", "wait for that one")
        keeper = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-m", "mux.preflight.canary_keeper", str(config.absolute())],
            env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pass_fds=(lock,),
        )  # fmt: skip
        held, told = cast(IO[bytes], keeper.stdin), cast(IO[bytes], keeper.stdout)
        try:
            said = told.read()
        except BaseException:
            sys.stderr.write("mux: removing the canary's ship; that may take some minutes\n")
            raise
        finally:
            held.close()
            keeper.wait()
    if not said:
        remedy = "look for its machine at the provider; `mux fleet reap --foreign` ends what carries the event's name"
        return failure(CHECK, "its keeper was killed", remedy)
    finding = json.loads(said)
    return Finding(**{**finding, "outcome": Outcome(finding["outcome"])})


@contextlib.contextmanager
def _alone(config: Path) -> Iterator[int | None]:
    """The descriptor of a lock that no other canary of the event file gets; None if another one has it."""
    descriptor = os.open(config, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


async def _kept(config: Path) -> Finding:
    """Fly until the canary has told, or until nobody holds the other end any more."""
    flight = asyncio.create_task(canary(config, load(config, os.environ), os.environ), name="canary")
    loop, end = asyncio.get_running_loop(), sys.stdin.fileno()

    def ended() -> None:
        # Nothing is ever written there: it is the end that is read, and once.
        loop.remove_reader(end)
        flight.cancel()

    loop.add_reader(end, ended)
    try:
        return await flight
    finally:
        loop.remove_reader(end)


def main(config: Path) -> int:
    """Be the keeper."""
    # Standard output is for the finding: a provider that removes a machine has its own to tell.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        finding = asyncio.run(_kept(config))
    except ConfigError as error:
        finding = failure(CHECK, f"{config} has changed meanwhile: {error.faults[0]}", "mend that, and check again")
    with contextlib.suppress(BrokenPipeError):  # whoever wanted it may be gone
        sys.stdout.write(json.dumps(finding.as_json()))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
