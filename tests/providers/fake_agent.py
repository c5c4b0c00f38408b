"""A program with the command line of the ship agent and nothing of its work: for tests of the provider alone.

``run --dir DIR`` locks DIR, notes itself in ``agent.json`` and waits, until SIGTERM or the loss of ``join.json``.
``stop-workspaces --dir DIR`` notes that it was called. Files in DIR change its ways: ``stubborn`` makes it ignore
SIGTERM, ``workspaces-stay`` makes ``stop-workspaces`` fail.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from pathlib import Path

import psutil


def main() -> int:
    subcommand, flag, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    assert flag == "--dir"
    if subcommand == "stop-workspaces":
        with (directory / "stop-calls").open("a") as calls:
            calls.write("called\n")
        return 3 if (directory / "workspaces-stay").exists() else 0
    lock = (directory / "agent.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    with (directory / "starts").open("a") as starts:
        starts.write(json.dumps(json.loads((directory / "join.json").read_text())["boot"]) + "\n")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    temporary = directory / f"agent.json.{os.getpid()}"
    temporary.write_text(json.dumps({"pid": os.getpid(), "started_at": psutil.Process().create_time()}))
    temporary.replace(directory / "agent.json")
    sys.stdout.write("agent runs\n")
    sys.stdout.flush()
    while (directory / "join.json").exists():
        if signal.sigtimedwait({signal.SIGTERM}, 0.05) is not None and not (directory / "stubborn").exists():
            return 0
    (directory.parent / f"{directory.name}-ended-by-itself").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
