"""A machine that has nothing: user-data installs the engine by apt and fetches the agent from the mux."""

from __future__ import annotations

import pytest

from tests.docker_engine import Engine
from tests.machines.rig import ENGINE_PACKAGES, Inside, harbour

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3000)]


async def test_a_plain_machine_becomes_a_ship(docker_engine: Engine) -> None:
    async with harbour(docker_engine, Inside.NOTHING) as fleet:
        await fleet.warm()
        (ship,) = (await fleet.status())["ships"]
        assert (ship["state"], ship["linked"]) == ("available", True)
        said = await fleet.inside("cat", "/var/log/cloud-init-output.log")
        assert "mux-ship: installing docker.io iptables" in said
        assert "mux-ship: fetching the agent from the mux" in said
        for package in ENGINE_PACKAGES:
            assert f"Setting up {package} " in said
        states = await fleet.inside("systemctl", "is-active", "docker", "mux-ship", "mux-ship-join")
        assert states.split() == ["active"] * 3
