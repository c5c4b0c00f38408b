"""Commands that start something and stay: the mux itself, the demo, a proxy alone. And the version."""

from __future__ import annotations

import ipaddress
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mux.cli.errors import CliError, UsageError
from mux.cli.options import place_of
from mux.cli.output import say

DEMO_DIRECTORY = Path(".mux") / "demo"
DEMO_PORT = 8000


class DemoRuntime(StrEnum):
    """What may be asked to run the demo's workspaces."""

    AUTO = "auto"
    PROCESS = "process"
    DOCKER = "docker"


class ProxyLoop(StrEnum):
    """Event loops of a proxy alone."""

    AUTO = "auto"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.command("serve")(serve)
    app.command("demo", short_help="Run a small mux on this machine.")(demo)
    app.command("proxy", short_help="Run one proxy alone, for measuring and tests.")(proxy)
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
    port: Annotated[
        int, typer.Option("--port", min=1024, max=65533, help="Attendees' port; the next two are used as well.")
    ] = DEMO_PORT,
    runtime: Annotated[
        DemoRuntime, typer.Option("--runtime", help="What runs workspaces; auto: Docker where an engine answers.")
    ] = DemoRuntime.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses and codes as one line of JSON.")] = False,
) -> int:
    """Run a small mux on this machine: two ships, two projects, three attendees."""
    from mux.demo import run  # noqa: PLC0415 - as above

    return run(directory, as_json=as_json, port=port, runtime=runtime.value)


def proxy(
    static: Annotated[Path, typer.Option("--static", metavar="FILE", help="Routes and sessions, JSON.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8000",
    loop: Annotated[ProxyLoop, typer.Option("--loop", help="Event loop; auto: uvloop where it is installed.")] = (
        ProxyLoop.AUTO
    ),
    no_memo: Annotated[bool, typer.Option("--no-memo", help="Remember no heads; what passes is the same.")] = False,
    no_splice: Annotated[bool, typer.Option("--no-splice", help="No splice(2); what passes is the same.")] = False,
) -> None:
    """Run one proxy from a file of routes, without a mux; for measuring and for tests."""
    import asyncio  # noqa: PLC0415 - as above

    from mux.proxy.descriptors import DescriptorError  # noqa: PLC0415 - as above
    from mux.proxy.process import log_to_stderr, run  # noqa: PLC0415 - as above
    from mux.proxy.static import StaticError, run_static  # noqa: PLC0415 - as above

    host, port = _listener(listen)

    async def serve_static() -> None:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        ready.add_done_callback(lambda done: None if done.cancelled() else _listening(host, done.result()))
        await run_static(static, host, port, ready, memo=not no_memo, splice=not no_splice)

    log_to_stderr("proxy")
    try:
        run(serve_static(), loop.value)
    except (StaticError, DescriptorError) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{listen}: {error.strerror}") from error


def version() -> None:
    """Show the version."""
    from importlib.metadata import version as installed  # noqa: PLC0415 - as above

    say(f"mux {installed('mux')}")


def _listening(host: str, port: int) -> None:
    say(f"proxy listens on {f'[{host}]' if ':' in host else host}:{port}")
    sys.stdout.flush()


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
