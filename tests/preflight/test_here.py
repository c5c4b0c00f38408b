"""What a preflight says of this machine, of names and certificates, of seats and images; and `mux check` itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import psutil
import pytest

from mux.config import Address, load
from mux.preflight import addresses, images, machine, room
from mux.preflight.canary_keeper import flown
from mux.preflight.finding import EXIT_CODES, Finding, Outcome, ok, warning, within, worst
from mux.registry import RegistryClient
from mux.tls.context import ServerContext
from tests.certificates import Authority
from tests.config.files import VALID, event_directory
from tests.e2e.harness import free_ports
from tests.registry.server import Pusher, free_port, registry

NOW = datetime.now(UTC)
GIB = 1 << 30
MUX = str(Path(sys.executable).with_name("mux"))


# -- findings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "outcome"), [(0, Outcome.OK), (90, Outcome.OK), (91, Outcome.WARNING), (101, Outcome.FAILURE)]
)
def test_a_number_is_held_against_its_limit(number: int, outcome: Outcome) -> None:
    found = within("quota", "so many", number, 100, unit="vCPUs", remedy="ask")
    assert (found.outcome, found.said.partition(",")[0]) == (outcome, f"so many: {number} of 100 vCPUs")


def test_the_worst_finding_is_the_exit_code() -> None:
    assert EXIT_CODES[worst([])] == 0
    assert EXIT_CODES[worst([ok("a", ""), warning("b", "", "")])] == 1
    assert EXIT_CODES[worst([within("c", "", 2, 1, unit="", remedy=""), warning("b", "", "")])] == 2


# -- seats -------------------------------------------------------------------------------------------------------------

PROJECTS = [room.Project("intro", 2 * GIB, 1.0), room.Project("deep", GIB, 0.5)]


def test_seats_that_do_not_fit_are_told_with_how_many_do() -> None:
    fits = room.memory_fits(room.Machine("m6i.2xlarge", 32 * GIB, 8), PROJECTS, 10)
    assert (fits.outcome, fits.number, fits.limit) == (Outcome.OK, 31, 32)
    found = room.memory_fits(room.Machine("m6i.2xlarge", 32 * GIB, 8), PROJECTS, 12)
    assert found.outcome is Outcome.FAILURE
    assert found.said == "12 seats × 3 GiB and 1 GiB for the system are 37 of 32 GiB on m6i.2xlarge"
    assert "fleet.seats_per_ship to 10" in found.remedy
    assert "larger machines" in room.memory_fits(room.Machine("tiny", 2 * GIB, 1), PROJECTS, 1).remedy


@pytest.mark.parametrize(("seats", "outcome"), [(4, Outcome.OK), (20, Outcome.OK), (21, Outcome.WARNING)])
def test_processors_are_shared_up_to_a_point(seats: int, outcome: Outcome) -> None:
    assert room.cpus_fit(room.Machine("m6i.2xlarge", GIB, 8), PROJECTS, seats).outcome is outcome


def test_disks_hold_the_unpacked_images_and_what_people_make() -> None:
    assert room.disk_fits(50 * GIB, 8 * GIB, 10, "a ship").outcome is Outcome.OK
    found = room.disk_fits(40 * GIB, 8 * GIB, 10, "a ship")
    assert (found.outcome, found.number) == (Outcome.FAILURE, 44)
    assert "unknown size" in room.disk_fits(40 * GIB, None, 1, "a ship").said


# -- names, certificates, clocks ---------------------------------------------------------------------------------------


def judged(facts: addresses.AddressFacts, *, mux_runs: bool = True) -> Finding:
    return addresses.judged_address(facts, NOW, mux_runs=mux_runs)[-1]


async def test_a_name_without_an_address_is_a_failure() -> None:
    facts = addresses.AddressFacts("attendees", Address("https", "camp.example.org", 443), (), answers=False)
    assert judged(facts).outcome is Outcome.FAILURE
    assert "no address in DNS" in judged(facts).said


async def test_nobody_at_an_address_is_as_it_should_be_only_while_mux_is_not_running_here() -> None:
    facts = await addresses.look("attendees", Address("http", "127.0.0.1", free_port()))
    assert (facts.resolved, facts.answers) == (("127.0.0.1",), False)
    assert judged(facts).outcome is Outcome.WARNING
    assert judged(facts, mux_runs=False).outcome is Outcome.OK


async def test_certificates_are_looked_at_as_browsers_do(tmp_path: Path) -> None:
    authority = Authority()

    async def served(*names: str, days: int = 30) -> addresses.AddressFacts:
        issued = authority.issue(*names, valid=timedelta(days=days))
        (tmp_path / "pair.pem").write_bytes(issued.key + issued.chain)
        context = ServerContext()
        context.load(tmp_path / "pair.pem")
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context.listener)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await addresses.look("attendees", Address("https", "localhost", port), authority.trusting())

    assert judged(await served("localhost")).outcome is Outcome.OK
    short = judged(await served("localhost", days=3))
    assert (short.outcome, short.limit) == (Outcome.WARNING, 7)
    other = judged(await served("other.test"))
    assert other.outcome is Outcome.FAILURE
    assert "a browser would refuse" in other.said


async def test_an_authority_that_browsers_do_not_trust_is_a_failure(tmp_path: Path) -> None:
    issued = Authority().issue("localhost")
    (tmp_path / "pair.pem").write_bytes(issued.key + issued.chain)
    context = ServerContext()
    context.load(tmp_path / "pair.pem")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context.listener)
    async with server:
        address = Address("https", "localhost", server.sockets[0].getsockname()[1])
        assert judged(await addresses.look("attendees", address)).outcome is Outcome.FAILURE


def test_https_without_anything_that_ends_it_is_a_warning() -> None:
    public = Address("https", "camp.example.org", 443)
    found = addresses.judged_front("none", public, ())
    assert found is not None
    assert found.outcome is Outcome.WARNING
    trusted = addresses.judged_front("none", public, ("10.0.0.0/16",))
    assert trusted is not None
    assert trusted.outcome is Outcome.OK
    assert addresses.judged_front("acme", public, ()) is None


@pytest.mark.parametrize(
    ("synchronised", "skew_s", "outcome"),
    [
        (True, None, Outcome.OK),
        (False, None, Outcome.WARNING),
        (None, None, Outcome.WARNING),
        (False, 1.0, Outcome.OK),
        (True, -30.0, Outcome.WARNING),
        (True, 300.0, Outcome.FAILURE),
    ],
)
def test_clocks(synchronised: bool | None, skew_s: float | None, outcome: Outcome) -> None:
    assert addresses.judged_clock(synchronised, skew_s).outcome is outcome


def test_the_kernel_is_asked_about_its_clock() -> None:
    assert addresses.clock_synchronised() in (True, False, None)


# -- images ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    with registry(tmp_path / "registry") as server:
        yield server.host


async def test_images_are_asked_of_their_registry(host: str) -> None:
    async with aiohttp.ClientSession() as http, RegistryClient() as client:
        await Pusher(http, f"http://{host}").image("camp/intro", "v1", layers=[b"shared", b"own"])
        await Pusher(http, f"http://{host}").image("camp/deep", "v1", layers=[b"shared"])
        facts = [
            await images.ask(client, name, f"{host}/camp/{name}:v1", "linux/amd64")
            for name in ("intro", "deep", "none")
        ]
    found = [images.judged_image(each) for each in facts]
    assert [each.outcome for each in found] == [Outcome.OK, Outcome.OK, Outcome.FAILURE]
    assert "not in the registry" in found[2].said
    intro, deep = facts[0].manifest, facts[1].manifest
    assert intro is not None
    assert deep is not None
    total = images.total_bytes(facts[:2])
    assert total is not None
    assert total < intro.compressed_bytes + deep.compressed_bytes  # what they share travels once
    assert images.total_bytes(facts) is None


async def test_a_registry_that_is_away_is_a_warning() -> None:
    async with RegistryClient() as client:
        facts = await images.ask(client, "intro", f"127.0.0.1:{free_port()}/camp/intro", "linux/amd64")
    assert images.judged_image(facts).outcome is Outcome.WARNING


# -- this machine, and the command -------------------------------------------------------------------------------------


def event(directory: Path, **listeners: int) -> Path:
    event_directory(directory)
    ports = {name: listeners.get(name) or free_port() for name in ("public", "admin", "control")}
    listen = "".join(f'{name} = "127.0.0.1:{port}"\n' for name, port in ports.items())
    text = VALID.replace("localhost:8000", f"localhost:{ports['public']}")
    text = text.replace("127.0.0.1:8001", f"127.0.0.1:{ports['admin']}")
    path = directory / "event.toml"
    path.write_text(f"{text}\n[listen]\n{listen}")
    return path


def test_a_port_that_is_taken_is_a_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = load(event(tmp_path, admin=taken.getsockname()[1]), {})
        found = machine.judged_listeners(machine.gathered(file))
    assert found.outcome is Outcome.FAILURE
    assert "listen.admin" in found.said


async def run_check(path: Path, *options: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        MUX, "--config", str(path), "check", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command_tells_every_finding_in_a_line_and_launches_nothing(tmp_path: Path) -> None:
    path = event(tmp_path)
    code, out, _ = await run_check(path, "--json")
    told = json.loads(out)
    assert code == {"ok": 0, "warning": 1, "failure": 2}[told["outcome"]]
    checks = {each["check"]: each["outcome"] for each in told["findings"]}
    assert checks["image of intro"] == checks["listeners"] == checks["attendees' name"] == "ok"
    assert not (tmp_path / "data").exists()

    (tmp_path / "images" / "intro" / "home").rename(tmp_path / "elsewhere")
    code, _, err = await run_check(path)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "mux config check" in err


async def test_a_line_has_the_number_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = event(tmp_path, control=taken.getsockname()[1])
        code, out, _ = await run_check(path)
    assert code == 2
    line = next(line for line in out.splitlines() if "listen.control" in line)
    assert line.startswith("failure ")
    assert line.endswith("stop the program that has it, or choose another port")


CANARY = """
[event]
name = "camp"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "page"
kind = "http"
image = "image"
command = {command}
secrets = "secrets.csv"

[fleet]
attendees = 40
seats_per_ship = 2
ready_seats = 30
boot_deadline_s = 90
launch_failures_max = 1
ports = "20000-20999"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"
"""


LOOK_S = 0.2


def left_of_canaries(part: str = "") -> set[int]:
    """Processes that a canary has left behind; ``part``: those with this in their command line."""
    return {
        process.pid
        for process in psutil.process_iter(["cmdline", "cwd"])
        if any("mux-canary-" in word for word in (process.info["cmdline"] or ()))
        and part in " ".join(process.info["cmdline"])
    }


def canary_event(directory: Path, command: list[str]) -> Path:
    """An event whose one project runs a command."""
    (directory / "image" / "home" / "camp" / "page").mkdir(parents=True)
    (directory / "secrets.csv").write_text("attendee,KEY\n*,value\n")
    path = directory / "event.toml"
    public, admin, control = free_ports(3)
    path.write_text(CANARY.format(public=public, admin=admin, control=control, command=json.dumps(command)))
    return path


@pytest.mark.timeout(400)  # a whole mux is started and ended, on a machine that may have other things to do
@pytest.mark.parametrize(
    ("command", "outcome", "words"),
    [
        (["python3", "-m", "http.server", "{port}"], "ok", "was available with 2 seats after"),
        pytest.param(
            ["python3", "-c", "raise SystemExit('no such data set')"],
            "failure",
            "exited with code 1",
            marks=pytest.mark.long,
        ),
    ],
)
async def test_a_canary_takes_one_ship_all_the_way_and_removes_it(
    tmp_path: Path, command: list[str], outcome: str, words: str
) -> None:
    before = left_of_canaries()
    path = canary_event(tmp_path, command)
    _, out, err = await run_check(path, "--json", "--canary")
    found = next(each for each in json.loads(out)["findings"] if each["check"] == "canary")
    assert found["outcome"] == outcome, (found, err)
    assert words in found["said"]
    assert left_of_canaries() <= before
    assert {each.name for each in tmp_path.iterdir()} == {"image", "secrets.csv", "event.toml"}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("ending", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_a_canary_whose_command_is_ended_is_removed(tmp_path: Path, ending: signal.Signals) -> None:
    before = left_of_canaries()
    path = canary_event(tmp_path, ["python3", "-c", "import time; time.sleep(3600)"])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mux.cli", "--config", str(path), "check", "--canary",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip

    def ships() -> set[int]:
        return {pid for pid in left_of_canaries("ship_agent.cli") if pid not in before}

    while not ships():
        assert process.returncode is None, await process.communicate()
        await asyncio.sleep(LOOK_S)
    assert "another canary" in flown(path, os.environ).said
    process.send_signal(ending)
    _, err = await process.communicate()
    if ending is signal.SIGINT:
        assert process.returncode == 130
        assert b"removing the canary's ship" in err
        assert left_of_canaries() <= before, "it waited for that"
    while not left_of_canaries() <= before:
        await asyncio.sleep(LOOK_S)
