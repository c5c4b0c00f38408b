"""`images/ship/bake --here` on a machine, as Packer has it run; then a ship boots from the image of that machine."""

from __future__ import annotations

import json

import pytest

from tests.docker_engine import Engine
from tests.machines.baking import bakery
from tests.machines.rig import auth
from tests.registry.server import PASSWORD

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3000)]
WORD = "only-the-baked-machine-says-this"


async def test_a_machine_that_was_baked_makes_ships_that_pull_nothing(docker_engine: Engine) -> None:
    async with bakery(docker_engine) as fleet:
        await fleet.launch(f"#!/bin/sh\necho {WORD}\n")
        assert WORD in await fleet.inside("cat", "/var/log/cloud-init-output.log")
        machine_before = await fleet.inside("cat", "/etc/machine-id")
        said = await fleet.bake()
        assert "bake: done: this machine" in said
        engine_before = await fleet.inside("docker", "info", "--format", "{{.ID}}")
        await fleet.take_image()

        await fleet.warm()

        (ship,) = (await fleet.status())["ships"]
        assert (ship["state"], ship["linked"]) == ("available", True)
        journal = await fleet.inside("journalctl", "--no-pager", "--output", "cat", "--unit", "mux-ship")
        events = [json.loads(line)["event"] for line in journal.splitlines() if line.startswith("{")]
        assert "linked" in events
        assert "image pulled" not in events
        states = await fleet.inside("systemctl", "is-active", "docker", "mux-ship", "mux-ship-join")
        assert states.split() == ["active"] * 3
        booted = await fleet.inside("cat", "/var/log/cloud-init-output.log")
        assert "the agent is starting" in booted
        assert "installing" not in booted
        assert "fetching the agent" not in booted

        # It is another machine, and holds nothing of the one that was baked.
        assert await fleet.inside("cat", "/etc/machine-id") not in ("", machine_before)
        assert await fleet.inside("docker", "info", "--format", "{{.ID}}") not in ("", engine_before)
        assert await fleet.inside("docker", "info", "--format", "{{.LiveRestoreEnabled}}") == "true"
        script = 'grep -rlaF "$@" --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev / 2>/dev/null || true'
        words = [part for word in (PASSWORD, auth(), WORD, machine_before) for part in ("-e", word)]
        assert await fleet.inside("sh", "-c", script, "sh", *words) == ""
