"""A machine that has nothing: user-data installs the engine by apt and fetches the agent from the mux, and says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.docker_engine import Engine
from tests.machines.rig import BOOT_S_MAX, ENGINE_PACKAGES, Inside, harbour

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3000)]


async def test_a_plain_machine_becomes_a_ship(docker_engine: Engine) -> None:
    async with harbour(docker_engine, Inside.NOTHING) as fleet:
        watched = await fleet.run("fleet", "warm", "1", "--yes", "--json", "--timeout", str(BOOT_S_MAX))
        states = [set(json.loads(line).get("ships_by_state", ())) for line in watched.splitlines()]
        assert {"installing"} in states, "it says so before there is an agent"
        (ship,) = (await fleet.status())["ships"]
        assert (ship["state"], ship["linked"]) == ("available", True)
        said = await fleet.inside("cat", "/var/log/cloud-init-output.log")
        assert "mux-ship: installing docker.io iptables" in said
        assert "mux-ship: fetching the agent from the mux" in said
        for package in ENGINE_PACKAGES:
            assert f"Setting up {package} " in said
        active = await fleet.inside("systemctl", "is-active", "docker", "mux-ship", "mux-ship-join")
        assert active.split() == ["active"] * 3


async def test_a_plain_machine_that_reaches_no_archive_says_so_to_the_organizers(docker_engine: Engine) -> None:
    async with harbour(docker_engine, Inside.NOTHING) as fleet:
        (fleet.directory / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:9/ ./\n")
        await fleet.run("fleet", "warm", "1", "--yes", "--no-watch")

        def told(status: dict[str, object]) -> bool:
            return "its installation failed: it cannot reach Debian's archive to install Docker" in json.dumps(status)

        await fleet.until(told, fleet.status)


async def test_a_machine_whose_engine_does_not_start_says_so_to_the_organizers(docker_engine: Engine) -> None:
    async with harbour(docker_engine, Inside.AGENT) as fleet:
        (fleet.directory / "daemon.json").write_text("{")
        await fleet.run("fleet", "warm", "1", "--yes", "--no-watch")
        why = "Docker does not start: unable to configure the Docker daemon"

        def doing(status: dict[str, Any]) -> bool:
            return any(why in ship["phase"] for ship in status["ships"])

        def told(status: dict[str, Any]) -> bool:
            return any(f"its installation failed: {why}" in notice["text"] for notice in status["notices"])

        await fleet.until(doing, fleet.status)
        await fleet.until(told, fleet.status)
