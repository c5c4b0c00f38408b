"""Commands that start something and stay: the mux itself, the demo, a proxy alone. And the version."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from mux.cli.errors import UsageError
from mux.cli.options import place_of
from mux.cli.output import say

DEMO_DIRECTORY = Path(".mux") / "demo"


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.command("serve")(serve)
    app.command("demo")(demo)
    app.command("proxy")(proxy)
    app.command("version")(version)


def serve(
    ctx: typer.Context,
    park_on_exit: Annotated[
        bool, typer.Option("--park-on-exit", help="Park the fleet when stopped, so that no process of it stays.")
    ] = False,
) -> int:
    """Run mux until it is stopped (SIGTERM or Ctrl-C)."""
    from mux.supervisor import run  # noqa: PLC0415 - only this command needs it

    path = place_of(ctx).config_path
    if not path.is_file():
        raise UsageError(f"there is no {path}; `mux init` writes one, --config names another")
    return run(path, park_on_exit=park_on_exit)


def demo(
    directory: Annotated[
        Path, typer.Option("--directory", help="Where the demo keeps everything; a second start goes on from it.")
    ] = DEMO_DIRECTORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses and codes as one line of JSON.")] = False,
) -> int:
    """Run a small mux on this machine: two ships, two projects, three attendees."""
    from mux.demo import run  # noqa: PLC0415 - as above

    return run(directory, as_json=as_json)


def proxy(
    static: Annotated[Path, typer.Option("--static", metavar="FILE", help="Routes and sessions, JSON.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8000",
) -> int:
    """Run one proxy from a file of routes, without a mux; for measuring and for tests."""
    from mux.proxy.static import run_static  # noqa: PLC0415 - as above

    host, port = _listener(listen)
    return run_static(static, host, port)


def version() -> None:
    """Show the version."""
    from importlib.metadata import version as installed  # noqa: PLC0415 - as above

    say(f"mux {installed('mux')}")


def _listener(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8000`` or ``[::1]:8000``. Raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise UsageError("--listen is an IP address and a port, such as 127.0.0.1:8000") from None
    if not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise UsageError("--listen needs a port from 0 to 65535")
    return host, int(port)
