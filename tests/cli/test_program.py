"""The program as a whole: exit codes, one line on stderr, no traceback, terminals and pipes, finding the mux."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

import mux.cli.fleet
from mux.cli.app import hoisted
from mux.cli.client import SOCKET_BELOW_DATA, Place
from mux.cli.output import plain
from mux.config import load
from mux.core.events import DoorsSet, FleetParked
from mux.core.model import Doors
from mux.web.admin_api import admin_api
from mux.web.admin_api_socket import ADMIN_SOCKET
from mux.web.organizer import organizer_app
from tests.admin.support import token_for
from tests.cli.conftest import Cli, Said, program
from tests.web.page_parts import house

Local = Callable[..., Said]


def is_one_line(said: Said) -> bool:
    """Whether an error is one line on stderr and nothing else."""
    return said.out == "" and said.err.startswith("mux: ") and said.err.count("\n") == 1


# --- exit codes -------------------------------------------------------------------------------------------------------


async def test_a_command_that_works_ends_with_0(cli: Cli) -> None:
    said = await cli.program("doors", "open")
    assert (said.code, said.err) == (0, "")


async def test_a_refusal_ends_with_1(cli: Cli) -> None:
    said = await cli.program("ship", "cordon", "nothing")
    assert said.code == 1
    assert is_one_line(said)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["frobnicate"],
        ["roster"],
        ["status", "--frobnicate"],
        ["doors"],
        ["doors", "ajar"],
        ["status", "extra"],
        ["--config"],
        ["token", "add", "x", "--scope", "everything"],
        ["proxy", "--static", "x", "--listen", "nonsense"],
        ["proxy", "--static", "x", "--listen", "127.0.0.1:99999"],
        ["roster", "reset", "..", "--data", "x"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2(local: Local, args: list[str]) -> None:
    said = local(*args)
    assert said.code == 2
    assert is_one_line(said)
    assert "Value error" not in said.err


async def test_no_mux_ends_with_3(tmp_path: Path) -> None:
    said = await program("status", "--data", str(tmp_path))
    assert said.code == 3
    assert is_one_line(said)
    assert "`mux serve`" in said.err


def test_a_socket_that_nobody_serves_is_no_mux(local: Local, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / SOCKET_BELOW_DATA))
    said = local("status", "--data", str(tmp_path))
    assert said.code == 3
    assert is_one_line(said)


async def test_a_mux_that_dies_while_it_is_asked_is_no_mux(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mux.cli.app import run

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    (tmp_path / "run").mkdir()
    async with await asyncio.start_unix_server(hang_up, tmp_path / SOCKET_BELOW_DATA):
        for words, done in ((["status"], False), (["rollout", "pause", "intro"], True)):
            code = await asyncio.to_thread(run, [*words, "--data", str(tmp_path)])
            assert code == 3
            said = capsys.readouterr().err
            assert "went away" in said and ("may have been done" in said) == done


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"error": "no"}'])
async def test_something_else_on_the_socket_is_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    from mux.cli.app import run

    async def another_program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        writer.close()

    (tmp_path / "run").mkdir()
    async with await asyncio.start_unix_server(another_program, tmp_path / SOCKET_BELOW_DATA):
        code = await asyncio.to_thread(run, ["status", "--data", str(tmp_path)])
    assert code == 1
    assert "is not mux's admin API" in capsys.readouterr().err


async def test_an_unexpected_error_is_one_line_that_says_where_to_look(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(mux.cli.fleet, "_show_status", broken)
    said = await cli("status")
    assert said.code == 1
    assert is_one_line(said)
    assert "ZeroDivisionError" in said.err
    assert "MUX_DEBUG=1" in said.err


def test_serve_without_an_event_file_says_what_to_do(local: Local, tmp_path: Path) -> None:
    said = local("serve", "--config", str(tmp_path / "event.toml"))
    assert said.code == 2
    assert is_one_line(said)
    assert "`mux init`" in said.err


async def test_a_proxy_alone_says_where_it_listens_and_passes_requests_on(cli: Cli, tmp_path: Path) -> None:
    routes = tmp_path / "routes.json"
    upstream = f"127.0.0.1:{cli.admin.port}"
    routes.write_text(json.dumps({"sessions": False, "routes": [{"prefix": "/", "upstream": upstream}]}))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mux.cli", "proxy", "--static", str(routes), "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    said = (await process.stdout.readline()).decode()
    cli.admin.port = int(said.rpartition(":")[2])
    assert (await cli.admin.remote("GET", "/healthz")).json["ok"] is True
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_proxy_without_routes_is_one_line(local: Local, tmp_path: Path, content: str | None) -> None:
    routes = tmp_path / "routes.json"
    if content is not None:
        routes.write_text(content)
    said = local("proxy", "--static", str(routes), "--listen", "127.0.0.1:0")
    assert said.code == 1
    assert is_one_line(said)


def test_a_port_in_use_is_one_line(local: Local, tmp_path: Path) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text('{"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1:9"}]}')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = local("proxy", "--static", str(routes), "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert said.code == 1
    assert is_one_line(said)
    assert "in use" in said.err


def test_version_and_help_need_nothing(local: Local) -> None:
    assert local("version").out.startswith("mux ")
    assert local("--version").out == local("version").out
    said = local("--help")
    assert said.code == 0
    assert "roster" in said.out
    assert "\x1b" not in said.out


def test_starting_imports_nothing_heavy() -> None:
    probe = (
        "import sys, mux.cli.app as a; a.run(['status', '--data', '/nonexistent']);"
        "print([m for m in ('aiohttp', 'sqlalchemy', 'structlog', 'mux.config', 'mux.core.model') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- finding the mux --------------------------------------------------------------------------------------------------


def test_the_socket_is_where_the_daemon_makes_it() -> None:
    assert SOCKET_BELOW_DATA == ADMIN_SOCKET


def test_a_new_event_is_written_checked_and_never_overwritten(local: Local, tmp_path: Path) -> None:
    directory = tmp_path / "new"
    assert local("init", str(directory)).code == 0
    event_file = directory / "event.toml"
    checked = local("config", "check", str(event_file))
    assert checked.code == 0
    assert "is fine: 1 project, 4 seats on 2 ships." in checked.out
    # The data directory is the same for the command line, which reads one key, and the daemon, which reads all.
    named = load(event_file, {}).data.directory
    assert Place(config=event_file).data_directory() == directory / named
    event_file.write_text("mine")
    again = local("init", str(directory))
    assert again.code == 1
    assert "nothing was written" in again.err
    assert event_file.read_text() == "mine"


def test_config_check_shows_every_fault_at_once(local: Local, tmp_path: Path) -> None:
    local("init", str(tmp_path))
    path = tmp_path / "event.toml"
    path.write_text(path.read_text().replace("attendees = 4", 'attendees = "many"').replace("[auth]", "[auht]"))
    said = local("config", "check", str(path))
    assert (said.code, said.out) == (1, "")
    assert "2 faults" in said.err.splitlines()[0]
    assert len(said.err.splitlines()) == 3


def test_config_check_warns_of_variables_that_nothing_reads(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local("init", str(tmp_path))
    monkeypatch.setenv("MUX_LISTEN_PUBLIK", "x")
    monkeypatch.setenv("MUX_CONFIG", str(tmp_path / "event.toml"))
    said = local("config", "check")
    assert said.code == 0
    assert "MUX_LISTEN_PUBLIK" in said.err
    assert "MUX_CONFIG" not in said.err


async def test_the_data_directory_comes_from_the_event_file(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mux.cli.app import run

    path = tmp_path / "event.toml"
    path.write_text('[data]\ndirectory = "."\n')
    assert await asyncio.to_thread(run, ["--config", str(path), "status"]) == 0
    monkeypatch.setenv("MUX_CONFIG", str(path))
    assert await asyncio.to_thread(run, ["status"]) == 0
    path.write_text('[data]\ndirectory = "elsewhere"\n')
    assert await asyncio.to_thread(run, ["status"]) == 3
    monkeypatch.setenv("MUX_DATA_DIRECTORY", str(tmp_path))
    assert await asyncio.to_thread(run, ["status"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("content", [None, b"[data", b"\xff\xfe"])
def test_without_an_event_file_that_can_be_read_the_way_out_is_named(
    local: Local, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "event.toml"
    if content is not None:
        path.write_bytes(content)
    said = local("status", "--config", str(path))
    assert said.code == 2
    assert is_one_line(said)
    assert "--data" in said.err


# --- a mux elsewhere --------------------------------------------------------------------------------------------------


async def test_a_token_from_the_environment_or_a_private_file_opens_a_mux_elsewhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{cli.admin.port}"
    token = await token_for(cli.admin, "read")
    assert (await cli("status", "--url", url)).code == 2
    monkeypatch.setenv("MUX_TOKEN", token)
    assert (await cli("status", "--url", url)).code == 0
    refused = await cli("doors", "open", "--url", url)
    assert (refused.code, refused.err) == (1, "mux: this needs the scope `fleet`\n")
    monkeypatch.delenv("MUX_TOKEN")
    path = tmp_path / "token"
    path.write_text(token + "\n")
    path.chmod(0o644)
    assert "chmod 600" in (await cli("status", "--url", url, "--token-file", str(path))).err
    path.chmod(0o600)
    assert (await cli("status", "--url", url, "--token-file", str(path))).code == 0


async def test_a_mux_elsewhere_is_asked_through_the_organizers_listener(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the pages' own checks around the API: the right host name, no cookie, no form token."""
    (tmp_path / "house").mkdir()
    monkeypatch.setenv("MUX_TOKEN", await token_for(cli.admin, "read", "fleet"))
    async with house(tmp_path / "house") as home:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        deps = replace(home.deps, admin_origin=f"http://127.0.0.1:{port}")
        runner = web.AppRunner(organizer_app(deps, admin_api(cli.admin.deps, trusted=False)))
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            assert (await cli("status", "--url", f"http://127.0.0.1:{port}")).code == 0
            assert (await cli("doors", "open", "--url", f"http://127.0.0.1:{port}")).code == 0
            assert (await cli("ship", "cordon", "x", "--url", f"http://127.0.0.1:{port}")).code == 1
            wrong_host = await cli("doors", "open", "--url", f"http://localhost:{port}")
        finally:
            await runner.cleanup()
    assert wrong_host.code == 1
    assert f"http://127.0.0.1:{port}" in wrong_host.err
    assert cli.admin.engine.events == [DoorsSet(Doors.OPEN)]


async def test_tokens_are_made_on_the_spot_only(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUX_TOKEN", await token_for(cli.admin, "read", "fleet", "roster", "apply"))
    said = await cli("token", "add", "x", "--scope", "read", "--url", f"http://127.0.0.1:{cli.admin.port}")
    assert said.code == 1
    assert "mux's own machine" in said.err


@pytest.mark.parametrize(
    "url",
    [
        "http://mux.example.org:8001",
        "https://user:secret@mux.example.org",
        "https://mux.example.org/?token=secret",
        "https://mux.example.org/path",
        "ftp://mux.example.org",
        "mux.example.org",
        "https://mux.example.org:99999",
        "https://",
    ],
)
def test_an_address_that_would_give_the_token_away_is_refused(
    local: Local, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUX_TOKEN", "mux_token")
    said = local("status", "--url", url)
    assert said.code == 2
    assert is_one_line(said)
    assert "secret" not in said.err


@pytest.mark.parametrize("token", ["two words", "two\nlines", "ünicode", "zzz\r\nHost: y"])
def test_a_token_that_is_none_goes_nowhere(local: Local, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUX_TOKEN", token)
    said = local("status", "--url", "http://127.0.0.1:1")
    assert said.code == 2
    assert is_one_line(said)
    assert token.split(maxsplit=1)[0] not in said.err


def test_no_option_takes_a_secret(local: Local) -> None:
    said = local("--help")
    assert "--token " not in said.out
    assert "--password" not in said.out


# --- terminals and pipes ----------------------------------------------------------------------------------------------


async def on_terminal(cli: Cli, *args: str, typed: bytes = b"", **environ: str) -> tuple[int, str]:
    """A command on a terminal of its own, with something typed: exit code and what it shows."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUX_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mux.cli", *args, "--data", str(cli.data)),
        env={**kept, "TERM": "xterm", "COLUMNS": "120", **environ},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed)
    shown = b""
    while True:
        try:
            chunk = await asyncio.to_thread(os.read, ours, 4096)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    return await process.wait(), shown.decode()


async def test_a_terminal_gets_colours_unless_it_wants_none(cli: Cli) -> None:
    code, shown = await on_terminal(cli, "status")
    assert code == 0
    assert "\x1b[33mlaunching stopped" in shown
    code, shown = await on_terminal(cli, "status", NO_COLOR="1")
    assert "launching stopped" in shown
    # Nor bold, nor dim: the heads of tables had them.
    assert "\x1b[" not in shown
    code, shown = await on_terminal(cli, "status", NO_COLOR="")
    assert "\x1b[33mlaunching stopped" in shown


async def test_a_person_is_asked(cli: Cli) -> None:
    code, shown = await on_terminal(cli, "fleet", "park", typed=b"n\n")
    assert (code, cli.admin.engine.events) == (1, [])
    assert "[y/N]" in shown
    assert "nothing was changed" in shown
    code, shown = await on_terminal(cli, "fleet", "park", typed=b"y\n")
    assert (code, cli.admin.engine.events) == (0, [FleetParked()])


async def test_a_pipe_that_closes_early_is_no_traceback(cli: Cli) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mux.cli", "status", "--json", "--data", str(cli.data)),
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    _, err = await process.communicate()
    assert b"Traceback" not in err
    assert b"Exception" not in err


def test_ctrl_c_while_it_is_loaded_is_one_line() -> None:
    probe = (
        "import builtins, sys; real = builtins.__import__\n"
        "def pressed(name, *rest):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = pressed\n"
        "from mux.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "mux: interrupted\n")


def test_ctrl_c_in_a_command_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mux.cli.app import run

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mux.cli.client.Api.get", pressed)
    assert run(["status", "--data", "d"]) == 130
    assert capsys.readouterr() == ("", "mux: interrupted\n")


async def test_watch_goes_on_until_it_is_interrupted(cli: Cli) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mux.cli", "status", "--watch", "--json", "--data", str(cli.data)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert process.stdout is not None
    first = json.loads(await process.stdout.readline())
    second = json.loads(await process.stdout.readline())
    assert first["event"] == second["event"] == "my-workshop"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


# --- small parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["status", "--data", "d"], ["--data", "d", "status"]),
        (["status", "--data=d", "--json"], ["--data=d", "status", "--json"]),
        (["--config", "c", "roster", "list", "--url", "u"], ["--config", "c", "--url", "u", "roster", "list"]),
        (["roster", "reset", "--", "--data"], ["roster", "reset", "--", "--data"]),
        (["status", "--data"], ["--data", "status"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], wanted: list[str]) -> None:
    assert hoisted(given) == wanted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ünïcödé 東京", "plain Ünïcödé 東京"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edef", "abc\\u202edef"),
        ("\u2028", "\\u2028"),
    ],
)
def test_control_characters_are_shown_not_sent(text: str, shown: str) -> None:
    assert plain(text) == shown


# --- streams that do not take everything ------------------------------------------------------------------------------


async def test_a_locale_that_knows_no_such_letter_loses_no_code(cli: Cli) -> None:
    said = await cli.program("roster", "add", "Zoë", PYTHONIOENCODING="ascii")
    assert (said.code, said.err) == (0, "")
    assert "Zo\\xeb" in said.out


async def redirected(where: str, *words: str) -> tuple[int | None, str]:
    """The program with a shell's redirection; its exit code and what it said on stderr."""
    args = ["sh", "-c", f'exec "$@" {where}', "sh", sys.executable, "-m", "mux.cli", *words]
    process = await asyncio.create_subprocess_exec(*args, stderr=subprocess.PIPE)
    _, err = await process.communicate()
    return process.returncode, err.decode()


@pytest.mark.parametrize("words", [("status",), ("status", "--json")], ids=" ".join)
async def test_output_onto_a_full_disk_is_told_in_one_line(cli: Cli, words: tuple[str, ...]) -> None:
    code, err = await redirected(">/dev/full", *words, "--data", str(cli.data))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("mux: the output cannot be written: No space left on device")


async def test_a_command_without_a_stdout_is_carried_out_all_the_same(cli: Cli) -> None:
    assert await redirected(">&-", "doors", "open", "--data", str(cli.data)) == (0, "")
    assert "open" in (await cli.program("status")).out
