"""Ships boot from nothing: real systemd and cloud-init, Docker inside, an image from a registry with a login.

An organizer warms, parks and reaps the fleet on the strict fake EC2, as on the real one.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.docker_engine import Engine
from tests.e2e.conftest import browser
from tests.e2e.people import Room
from tests.fakes.ec2 import State
from tests.machines.containers import METADATA
from tests.machines.rig import Harbour, auth, harbour
from tests.registry.server import PASSWORD

__all__ = ["browser"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1500),
]
NAME = "Ana"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
EVERYWHERE = ("--exclude-dir=proc", "--exclude-dir=sys", "--exclude-dir=dev", "/")
SAY_GIVEN_UP = """
import json, ssl, urllib.error, urllib.parse, urllib.request
launch = json.load(open("/etc/mux-ship/launch.json"))
request = urllib.request.Request(
    f"https://{urllib.parse.urlsplit(launch['control_url']).netloc}/ship/boot",
    data=json.dumps({"doing": "its disk is full", "failed": True}).encode(),
    headers={"Authorization": f"Bearer {launch['join_token']}", "Mux-Ship": launch["ship"]},
    method="PUT",
)
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cadata=launch["ca_pem"])).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(docker_engine: Engine) -> AsyncIterator[Harbour]:
    """A mux with one machine that has booted."""
    async with harbour(docker_engine) as opened:
        await opened.invite([NAME])
        assert (await opened.status())["ships"] == [], "its time has not come"
        await opened.warm()
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def room(fleet: Harbour, browser: Browser) -> AsyncIterator[Room]:
    opened = Room(fleet, browser, {}, None)
    yield opened
    await opened.close()


async def join_information(fleet: Harbour) -> dict[str, str]:
    found: dict[str, str] = json.loads(await fleet.inside("cat", "/var/lib/mux-ship/join.json"))
    return found


async def files_with(fleet: Harbour, *words: str) -> list[str]:
    """Files of the machine that hold one of the words, as ``mode owner name``."""
    patterns = [part for word in words for part in ("-e", word)]
    script = 'grep -rlaF "$@" 2>/dev/null | while read -r file; do stat -c "%a %U %n" "$file"; done'
    found = await fleet.inside("sh", "-c", script, "sh", *patterns, *EVERYWHERE)
    return found.splitlines()


async def logs_of(fleet: Harbour) -> str:
    """All that was logged, on the machine and by the mux."""
    journal = await fleet.inside("journalctl", "--no-pager", "--output", "export", "--all")
    cloud_init = await fleet.inside("cat", "/var/log/cloud-init-output.log", "/var/log/cloud-init.log")
    return journal + cloud_init + fleet.log.read_text()


async def test_a_machine_becomes_a_ship_that_serves_an_attendee(fleet: Harbour, room: Room) -> None:
    (ship,) = (await fleet.status())["ships"]
    assert (ship["state"], ship["linked"]) == ("available", True)
    assert fleet.calls == {"CreateLaunchTemplate": 1, "CreateLaunchTemplateVersion": 1, "CreateFleet": 1}
    assert await fleet.machines.names() == [await fleet.machine()]

    lab = await (await room.attendee(NAME)).notebook()
    assert await lab.run("open('kept.txt', 'w').write('kept'); print(6 * 7)") == "42"


async def test_systemd_knows_that_the_agent_is_ready_and_cloud_init_that_it_is_done(fleet: Harbour) -> None:
    states = await fleet.inside("systemctl", "is-active", "mux-ship", "mux-ship-join", "docker")
    assert states.split() == ["active"] * 3
    shown = await fleet.inside("systemctl", "show", "--property=Type,SubState,NRestarts", "mux-ship")
    assert sorted(shown.split()) == ["NRestarts=0", "SubState=running", "Type=notify"]
    assert "done" in await fleet.inside("cloud-init", "status", "--wait")
    assert "the agent is starting" in await fleet.inside("cat", "/var/log/cloud-init-output.log")


async def test_the_registrys_login_is_nowhere_on_the_ship_and_in_no_log(fleet: Harbour) -> None:
    assert await files_with(fleet, PASSWORD, auth()) == []
    arguments_and_environments = await fleet.inside("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true")
    logs = await logs_of(fleet)
    for secret in (PASSWORD, auth()):
        assert secret not in arguments_and_environments
        assert secret not in logs


async def test_the_join_token_is_for_root_alone_and_in_no_log(fleet: Harbour) -> None:
    token = (await join_information(fleet))["join_token"]
    holders = [line.split(" ", 2) for line in await files_with(fleet, token)]
    assert {name for _, _, name in holders} >= {"/etc/mux-ship/launch.json", "/var/lib/mux-ship/join.json"}
    assert [holder for holder in holders if holder[1] != "root" or int(holder[0], 8) & 0o077] == []
    allowed = ("/etc/mux-ship/", "/var/lib/mux-ship/", "/var/lib/cloud/")
    assert [name for _, _, name in holders if not name.startswith(allowed)] == []
    assert token not in await fleet.inside("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true")
    assert token not in await logs_of(fleet)


async def test_the_join_token_is_spent_once_the_agent_has_joined(fleet: Harbour) -> None:
    """Whoever reads it on the machine later has no use for it: nobody can talk the ship down with it."""
    answers = await fleet.inside("python3", "-c", SAY_GIVEN_UP)
    assert answers.split() == ["403"]
    (ship,) = (await fleet.status())["ships"]
    assert (ship["linked"], ship["conditions"]) == (True, [])


async def test_workspaces_reach_neither_metadata_nor_the_mux(fleet: Harbour) -> None:
    places = [f"{METADATA}:80", fleet.metadata, fleet.control]
    workspace = await fleet.workspace()
    for place in places:
        host, _, port = place.partition(":")
        # The machine itself gets there: what a workspace does not reach is there.
        await fleet.inside("python3", "-c", CONNECT, host, port)
        script = 'docker exec "$1" python3 -c "$2" "$3" "$4" 2>&1 || echo not reached'
        said = await fleet.inside("sh", "-c", script, "sh", workspace, CONNECT, host, port)
        assert re.search(r"(TimeoutError|ConnectionRefusedError|OSError).*\s+not reached$", said, re.DOTALL), said


async def test_a_killed_agent_comes_back_and_the_workspace_does_not_notice(fleet: Harbour) -> None:
    async def agent() -> str:
        return await fleet.inside("systemctl", "show", "--property=MainPID", "--value", "mux-ship")

    async def started() -> str:
        return await fleet.inside("docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", workspace)

    workspace = await fleet.workspace()
    before, started_before = await agent(), await started()

    await fleet.inside("kill", "-KILL", before)
    await fleet.until(lambda pid: pid not in ("0", before), agent)
    await fleet.inside("systemctl", "start", "mux-ship")  # returns when it is ready

    await fleet.until_ready()
    assert await started() == started_before


async def test_a_machine_that_was_stopped_comes_back_with_its_attendees_files(fleet: Harbour, room: Room) -> None:
    boot = (await join_information(fleet))["boot"]
    machine = await fleet.machine()

    await fleet.run("fleet", "park", "--yes")
    await fleet.until(lambda status: {ship["state"] for ship in status["ships"]} == {"parked"}, fleet.status)
    assert fleet.cloud.instances[machine].state is State.STOPPED
    await fleet.run("fleet", "unpark")
    await fleet.until_ready()

    assert (await fleet.machine(), fleet.cloud.instances[machine].boots) == (machine, 2)
    assert (await join_information(fleet))["boot"] != boot
    lab = await (await room.attendee(NAME)).notebook()
    assert await lab.run("print(open('kept.txt').read())") == "kept"


async def test_after_the_event_nothing_is_left_of_a_machine(fleet: Harbour) -> None:
    said = await fleet.run("fleet", "reap", "--yes")
    assert said.startswith("Nothing of the event is left")
    await fleet.machines.settled()
    assert await fleet.machines.names() == []
    assert {one.state for one in fleet.cloud.instances.values()} == {State.TERMINATED}
    assert (fleet.cloud.volumes, fleet.cloud.templates) == ({}, {})
