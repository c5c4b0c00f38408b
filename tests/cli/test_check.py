"""`mux check --canary` beside a running mux on EC2: ships may dial one port, and that mux has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mux.core.events import FleetCooled
from mux.preflight import run as preflight_run
from mux.preflight.finding import Finding, ok
from mux.preflight.machine import MUX_RUNS
from tests.admin.support import NOW
from tests.cli.conftest import Cli
from tests.config.test_ec2 import GIVEN, ON_EC2


async def canary(cli: Cli) -> Finding:
    """What a canary of an event on EC2 came to."""
    path = cli.data / "event.toml"
    path.write_text(ON_EC2 + GIVEN)
    said = await cli("--config", str(path), "check", "--canary", "--json")
    return Finding(**json.loads(said.out)["findings"][-1])


async def test_beside_a_running_mux_a_ship_of_its_own_is_the_canary(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: Any) -> list[Finding]:
        return [ok("listeners", MUX_RUNS)]

    monkeypatch.setattr(preflight_run, "preflight", found)
    told = await canary(cli)
    assert (told.check, told.outcome) == ("canary", "warning")
    assert "mux is running and has 8002" in told.said
    assert "`mux fleet warm 6` watches one more become ready; `mux fleet warm 4` lets it go" in told.remedy
    cli.admin.engine.fleet.handle(FleetCooled(), now=NOW)
    assert "`mux fleet warm 2`" in (await canary(cli)).remedy
    assert "`mux fleet cool` lets it go" in (await canary(cli)).remedy
