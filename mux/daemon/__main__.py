"""``python -m mux.daemon prepare|run``: started by the supervisor, not by people."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import uvloop

from mux.child import SAID
from mux.daemon.descriptors import raise_descriptor_limit
from mux.daemon.errors import EXIT_FAILURE, StartError
from mux.daemon.https import public_certificate
from mux.daemon.logs import set_up_logs
from mux.daemon.prepare import Prepared, prepare


def main() -> int:
    """Returns the exit code; a start that fails says why in one clear line."""
    parser = argparse.ArgumentParser(prog="mux.daemon")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "run"):
        command = commands.add_parser(name)
        command.add_argument("--config", type=Path, required=True)
        if name == "prepare":
            command.add_argument("--apply", action="store_true")
            command.add_argument("--terminal", action="store_true", help="log as for a terminal")
    command.add_argument("--data", type=Path, required=True)
    for name in ("admin", "control", "feed", "web"):
        command.add_argument(f"--{name}-fd", type=int, required=True)
    command.add_argument("--park-on-exit", action="store_true")
    options = parser.parse_args()
    set_up_logs(terminal=options.command == "prepare" and options.terminal)
    try:
        if options.command == "prepare":
            prepared = asyncio.run(prepare(options.config.absolute(), os.environ, apply_file=options.apply))
            for warning in prepared.warnings:
                _say(warning)
            sys.stdout.write(json.dumps(_settings(prepared)) + "\n")
            return 0
        # Not needed for preparing, which is what a restart of the supervisor waits for.
        from mux.daemon.compose import Sockets, run  # noqa: PLC0415

        raise_descriptor_limit()
        sockets = Sockets(
            *(
                socket.socket(fileno=fd)
                for fd in (options.admin_fd, options.control_fd, options.feed_fd, options.web_fd)
            )
        )
        uvloop.run(
            run(options.config.absolute().parent, options.data, sockets, os.environ, park_on_exit=options.park_on_exit)
        )
    except StartError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_FAILURE
    return 0


def _say(text: str) -> None:
    """Lines for people, which the supervisor tells from those of the log by how they begin."""
    for line in text.splitlines():
        sys.stderr.write(f"{SAID}{line}\n")


def _settings(prepared: Prepared) -> dict[str, object]:
    """What the supervisor listens on: see `mux.supervisor.Settings`."""
    listen = prepared.file.listen
    certificate = public_certificate(prepared.file, prepared.data)
    return {
        "public": [listen.public.host, listen.public.port],
        "admin": [listen.admin.host, listen.admin.port],
        "control": [listen.control.host, listen.control.port],
        "http": [listen.http.host, listen.http.port] if listen.http else None,
        "certificate": str(certificate) if certificate else None,
        "data": str(prepared.data),
        "proxies": listen.proxies,
    }


if __name__ == "__main__":
    sys.exit(main())
