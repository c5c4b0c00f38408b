"""A canary on the strict fake EC2, where nothing boots: what was launched for it is gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from mux.config import load
from mux.preflight.canary import canary, cut_down
from mux.preflight.finding import Outcome
from tests.e2e.harness import clean_environment, free_ports
from tests.fakes.ec2 import KEY_ID, REGION, SHIPS_GROUP, State, served
from tests.fakes.rig import IMAGE, SUBNET_A
from tests.providers.backends import order
from tests.providers.ec2_backends import fake_backend

EVENT = """\
[event]
name = "camp"
public_address = "http://camp.example.org"
admin_address = "http://organizers.example.org"

[[project]]
name = "intro"
image = "registry.example.org/intro@sha256:{digest}"

[fleet]
provider = "ec2"
runtime = "docker"
attendees = 40
seats_per_ship = 4
boot_deadline_s = 5
launch_failures_max = 1
listing_s = 1.0

[ec2]
region = "{region}"
endpoint = "{endpoint}"
image = "{image}"
instance_types = ["m6i.2xlarge"]
subnets = ["{subnet}"]
security_groups = ["{group}"]
control_host = "10.0.0.10"

[listen]
control = "127.0.0.1:{control}"
"""


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_canary_that_never_boots_is_told_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a secret")
    async with fake_backend() as backend, served(backend.api) as url:
        await backend.provider(store="another").launch(order("ship-0001"))
        path = tmp_path / "event.toml"
        (control,) = free_ports(1)
        path.write_text(
            EVENT.format(
                digest="a" * 64,
                region=REGION,
                endpoint=url,
                image=IMAGE,
                subnet=SUBNET_A,
                group=SHIPS_GROUP,
                control=control,
            )
        )
        found = await canary(path, load(path, {}), clean_environment())
        assert found.outcome is Outcome.FAILURE
        assert "not available within 5 s" in found.said
        assert "could not be removed" not in found.said
        cloud = backend.api.cloud
        assert [one.tags["mux:store"] for one in cloud.instances.values() if one.state is State.RUNNING] == ["another"]
        assert len(cloud.instances) == 2, "one ship was launched, however many the event has"
        assert len(cloud.templates) == 1, "the canary's own went with it"


def test_a_canary_is_as_patient_as_the_event_and_has_none_of_its_times_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "event.toml"
    text = EVENT.format(
        digest="a" * 64,
        region=REGION,
        endpoint="http://127.0.0.1:9",
        image=IMAGE,
        subnet=SUBNET_A,
        group=SHIPS_GROUP,
        control=8443,
    )
    more = (
        '[warming]\npull_deadline_s = 3600\n\n[timetable]\nwarm_at = "2099-01-01 08:00"\n\n'
        "[spend]\nlimit = 1.0\nprice_per_ship_hour = 0.1\n"
    )
    path.write_text(f"{text}\n{more}")
    (tmp_path / "canary.toml").write_text(cut_down(path.read_text(), load(path, {}), tmp_path))
    cut = load(tmp_path / "canary.toml", {})
    assert cut.warming.pull_deadline_s == 3600
    assert (cut.timetable.warm_at, cut.spend.limit, cut.fleet.attendees) == (None, None, 4)
