"""`mux check` of an event on EC2 as a whole: the strict fake, and a real registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import aiohttp
from aiobotocore.session import AioSession

from mux.config import parse
from mux.preflight.cloud import wanted_of
from mux.preflight.ec2_gather import Ec2Gatherer
from mux.preflight.finding import Finding, Outcome
from mux.preflight.run import preflight
from tests.fakes.ec2 import PROMPT, SHIPS_GROUP, Cloud, Quotas, api_of, client_settings, served
from tests.registry.server import Pusher, free_port, registry

EVENT = """
[event]
name = "camp"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
image = "{registry}/camp/intro:v1"
memory = "{memory}"

[fleet]
provider = "ec2"
runtime = "docker"
attendees = 40
seats_per_ship = 8

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "0.0.0.0:8443"

[ec2]
control_host = "10.0.0.10"
region = "eu-central-1"
image = "ami-0123456789abcdef0"
instance_types = ["m6i.2xlarge", "m5.2xlarge"]
subnets = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"]
security_groups = ["{group}"]
"""


async def checked(cloud: Cloud, base: Path, *, host: str, memory: str = "3GiB") -> dict[str, Finding]:
    text = EVENT.format(public=free_port(), admin=free_port(), registry=host, memory=memory, group=SHIPS_GROUP)
    file = parse(text, base=base, environ={}, files=False)
    async with api_of(cloud) as api, served(api) as url:
        options = client_settings(url)
        del options["region_name"], options["config"]
        findings = await preflight(file, {}, Ec2Gatherer(wanted_of(file), AioSession(), options))
    return {finding.check: finding for finding in findings}


async def test_an_event_on_ec2_is_checked_from_credentials_to_clock(tmp_path: Path) -> None:
    cloud = Cloud(replace(PROMPT, quotas=Quotas(on_demand_vcpu=32)))
    with registry(tmp_path / "registry") as server:
        async with aiohttp.ClientSession() as http:
            await Pusher(http, f"http://{server.host}").image("camp/intro", "v1")
        found = await checked(cloud, tmp_path, host=server.host)
        tight = await checked(cloud, tmp_path, host=server.host, memory="4GiB")
    assert list(found)[:4] == ["event file", "credentials", "permissions", "instance types"]
    assert list(found)[-1] == "clock"
    assert {check: finding.outcome for check, finding in found.items() if finding.outcome is Outcome.FAILURE} == {
        "vCPU quota, on-demand": Outcome.FAILURE  # five ships of eight against 32
    }
    assert found["memory"].limit == 32
    assert found["image of intro"].outcome is found["disk"].outcome is Outcome.OK
    assert "differs from the cloud's" in found["clock"].said
    assert tight["memory"].outcome is Outcome.FAILURE
    assert "fleet.seats_per_ship to 7" in tight["memory"].remedy
    assert cloud.instances == {}
