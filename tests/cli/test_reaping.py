"""`mux fleet reap --event-file`: after the event, without a mux, against the strict fake EC2."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mux.core.model import ShipId
from mux.daemon.prepare import open_keys
from mux.supervisor import lock
from tests.cli.conftest import Said, program
from tests.fakes.ec2 import KEY_ID, REGION, SHIPS_GROUP, State, served
from tests.fakes.rig import IMAGE, SUBNET_A
from tests.providers.backends import order
from tests.providers.ec2_backends import FakeBackend, fake_backend

EVENT = f"""\
[event]
name = "camp"
public_address = "http://camp.example.org"
admin_address = "http://organizers.example.org"

[[project]]
name = "intro"
image = "registry.example.org/intro"

[fleet]
provider = "ec2"
runtime = "docker"
attendees = 4
seats_per_ship = 4

[ec2]
region = "{REGION}"
endpoint = "ENDPOINT"
image = "{IMAGE}"
instance_types = ["m6i.2xlarge"]
subnets = ["{SUBNET_A}"]
security_groups = ["{SHIPS_GROUP}"]
control_host = "10.0.0.10"
"""


@dataclass
class After:
    """What an event has left behind: two machines of its mux, one of another mux."""

    directory: Path
    backend: FakeBackend

    async def reap(self, *words: str) -> Said:
        keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": "not a secret"}
        return await program("fleet", "reap", "--event-file", str(self.directory / "event.toml"), *words, **keys)

    @property
    def left(self) -> int:
        gone = (State.SHUTTING_DOWN, State.TERMINATED)
        return sum(one.state not in gone for one in self.backend.api.cloud.instances.values())


@pytest.fixture
async def after(tmp_path: Path) -> AsyncIterator[After]:
    store = open_keys(tmp_path / "data").store_id()
    async with fake_backend() as backend, served(backend.api) as url:
        (tmp_path / "event.toml").write_text(EVENT.replace("ENDPOINT", url))
        for number, whose in enumerate((store, store, "another")):
            await backend.provider(store=whose).launch(order(ShipId(f"ship-{number}")))
        yield After(tmp_path, backend)


async def test_what_the_event_left_is_ended_without_its_mux(after: After) -> None:
    said = await after.reap("--yes")
    assert (said.code, said.err) == (0, "")
    assert "2 machines ended" in said.out
    assert "Another mux has 1 machine of this event's name" in said.out
    assert after.left == 1
    said = await after.reap("--yes", "--foreign")
    assert (said.code, after.left) == (0, 0)


async def test_it_is_refused_while_the_mux_runs(after: After) -> None:
    held = lock(after.directory / "data")
    try:
        said = await after.reap("--yes", "--foreign")
    finally:
        os.close(held)
    assert said.code == 1
    assert "leave --event-file away, and that mux reaps" in said.err
    assert after.left == 3


async def test_without_the_data_directory_only_everything_can_be_ended(after: After) -> None:
    (after.directory / "data").rename(after.directory / "away")
    said = await after.reap("--yes")
    assert said.code == 1
    assert "with --foreign every machine" in said.err
    said = await after.reap("--yes", "--foreign")
    assert (said.code, after.left) == (0, 0)
