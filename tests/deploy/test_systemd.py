"""The units say what they must, systemd understands them, and both programs tell it when they are ready."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mux.child import EXIT_CONFIG
from mux.notify import READY, STOPPING
from mux.notify import Notifier as MuxNotifier
from ship_agent.cli import EXIT_REFUSED
from ship_agent.notify import Notifier as AgentNotifier
from tests.docker_engine import ROOT
from tests.parts import require

UNITS = ROOT / "deploy" / "systemd"
MUX, SHIP = UNITS / "mux.service", UNITS / "mux-ship.service"
NOTIFIERS = pytest.mark.parametrize("notifier", [MuxNotifier, AgentNotifier])

WANTED = {
    MUX: {
        "Type": "notify",
        "Restart": "always",
        "ExecReload": "/bin/kill -USR2 $MAINPID",
        "KillMode": "mixed",
        "RestartPreventExitStatus": str(EXIT_CONFIG),
        "User": "mux",
        "StateDirectory": "mux",
        "StateDirectoryMode": "0700",
        "UMask": "0077",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
        "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
    },
    SHIP: {
        "Type": "notify",
        "Restart": "always",
        "KillMode": "process",
        "RestartPreventExitStatus": str(EXIT_REFUSED),
        "StateDirectory": "mux-ship",
        "StateDirectoryMode": "0700",
        "UMask": "0077",
        "Delegate": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
    },
}
"""What the promises of docs/how-to/run-under-systemd.md stand on."""


class Unit(configparser.ConfigParser):
    """A unit file, whose directives have capitals."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def service(unit: Path) -> dict[str, str]:
    """The directives of a unit's service; each stands there once, which configparser sees to."""
    parser = Unit(interpolation=None, delimiters=("=",))
    parser.read(unit, encoding="utf-8")
    assert parser["Unit"]["StartLimitIntervalSec"] == "0", "a unit that gives up is one that somebody has to start"
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", WANTED, ids=lambda unit: unit.name)
def test_a_unit_holds_what_is_promised(unit: Path) -> None:
    found = service(unit)
    assert {name: found.get(name) for name in WANTED[unit]} == WANTED[unit]


def test_the_mux_gets_the_time_that_its_children_may_take() -> None:
    from mux.supervisor import CONTROL_STOP_S, PROXY_STOP_S

    given = re.fullmatch(r"(\d+)s", service(MUX)["TimeoutStopSec"])
    assert given is not None
    assert int(given[1]) > CONTROL_STOP_S + PROXY_STOP_S


@pytest.mark.parametrize("unit", WANTED, ids=lambda unit: unit.name)
def test_the_command_of_a_unit_is_one_that_there_is(unit: Path) -> None:
    words = service(unit)["ExecStart"].split()
    here = Path(sys.executable).with_name(Path(words[0]).name)
    asked = [word for word in words[1:] if not word.startswith(("-", "/"))]
    done = subprocess.run([here, *asked, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if unit == SHIP:
        assert "--dir" in done.stdout


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", "as root on Debian: tools/setup docker")
    copies = []
    for unit in WANTED:
        copies.append(tmp_path / unit.name)
        # Whether its program is there is another machine's business.
        copies[-1].write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text("utf-8")))
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *copies], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@NOTIFIERS
async def test_systemd_is_told_by_one_datagram_and_children_do_not_learn_where(
    notifier: Callable[[dict[str, str]], MuxNotifier], tmp_path: Path
) -> None:
    import socket

    for address, shown in ((str(tmp_path / "notify"), str(tmp_path / "notify")), (f"\0{tmp_path}", f"@{tmp_path}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address)
            environ = {"NOTIFY_SOCKET": shown, "LANG": "C"}
            told = notifier(environ)
            told.say(READY)
            told.say(STOPPING)
            assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]
            assert environ == {"LANG": "C"}


@NOTIFIERS
def test_a_word_that_nobody_takes_is_lost(notifier: Callable[[dict[str, str]], MuxNotifier], tmp_path: Path) -> None:
    notifier({}).say(READY)
    notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).say(READY)
