"""The table [ec2]: what must be given for that provider, and what each key refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mux.core.model import ShipId
from mux.daemon.machines import control_names, ec2_settings, provider_of
from tests.config.files import VALID, faults_in, parsed

GIVEN = """
[ec2]
region = "eu-central-1"
image = "ami-0123456789abcdef0"
instance_types = ["m6i.2xlarge", "m5.2xlarge"]
subnets = ["subnet-0123456789abcdef0"]
security_groups = ["sg-0123456789abcdef0"]
control_host = "10.0.0.10"
"""
ON_EC2 = (
    VALID.replace("[fleet]", '[fleet]\nprovider = "ec2"\nruntime = "docker"')
    .replace("images/intro", "registry.example/intro:1")
    .replace("spare_seats = 1", 'spare_seats = 1\nports = "30000-30099"')
)


def test_a_whole_table_becomes_settings_and_control_names() -> None:
    file = parsed(ON_EC2 + GIVEN)
    made = ec2_settings(file, "0123456789abcdef")
    assert (made.event, made.store, made.region) == ("camp-2026", "0123456789abcdef", "eu-central-1")
    assert made.instance_types == ("m6i.2xlarge", "m5.2xlarge")
    assert (made.port_first, made.port_count) == (30000, 12)
    assert (made.market, made.disk_gib, made.disk_initialization_mib_s) == ("on_demand", 50, 300)
    assert control_names(file) == ["10.0.0.10"]
    assert provider_of(file, Path("/nowhere"), "store", lambda _event: None).name == "ec2"


def test_what_the_provider_needs_must_be_given() -> None:
    faults = faults_in(ON_EC2)
    needed = {"region", "image", "instance_types", "subnets", "security_groups"}
    assert set(faults) == {f"ec2.{key}" for key in (*needed, "control_host")}
    assert all("must be given" in faults[f"ec2.{key}"].allowed for key in needed)


def test_a_table_without_the_provider_is_fine() -> None:
    assert parsed(VALID + GIVEN).fleet.provider == "local"


def test_ships_must_be_able_to_reach_the_mux() -> None:
    assert set(faults_in(ON_EC2 + GIVEN.replace("10.0.0.10", "127.0.0.1"))) == {"ec2.control_host"}
    listen = '\n[listen]\ncontrol = "10.0.0.11:8002"\n'
    file = parsed(ON_EC2 + GIVEN.replace('control_host = "10.0.0.10"', "") + listen)
    assert control_names(file) == ["10.0.0.11"]


def test_processes_are_for_this_machine_alone() -> None:
    text = ON_EC2.replace('runtime = "docker"', 'runtime = "process"')
    assert "fleet.runtime" in faults_in(text + GIVEN)


def test_one_ships_workspaces_must_find_ports() -> None:
    assert set(faults_in(ON_EC2.replace("30000-30099", "30000-30006") + GIVEN)) == {"fleet.ports"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("region", '"Frankfurt"'),
        ("image", '"ami-xyz"'),
        ("instance_types", "[]"),
        ("instance_types", '"m6i.large"'),
        ("instance_types", '["m6i.large", "m6i.large"]'),
        ("subnets", '["vpc-0123456789abcdef0"]'),
        ("security_groups", "[1]"),
        ("market", '"sport"'),
        ("disk_gib", "4"),
        ("disk_initialization_mib_s", "50"),
        ("disk_initialization_mib_s", "true"),
        ("instance_profile", '"arn:aws:iam::1:x"'),
        ("control_host", '"10.0.0.10:8002"'),
        ("endpoint", '"ec2.example"'),
        ("access_key", '"AKIA"'),
    ],
)
def test_a_wrong_value_is_refused_under_its_key(key: str, value: str) -> None:
    lines = [line for line in GIVEN.splitlines() if not line.startswith(f"{key} ")]
    assert f"ec2.{key}" in faults_in(ON_EC2 + "\n".join([*lines, f"{key} = {value}"]) + "\n")


def test_a_store_has_an_identity_of_its_own(tmp_path: Path) -> None:
    from mux.keys import Keyring

    first, second = Keyring.open(tmp_path / "1"), Keyring.open(tmp_path / "2")
    assert first.store_id() == Keyring.open(tmp_path / "1").store_id() != second.store_id()
    assert len(first.store_id()) == 16
    assert first.store_id() not in first.join_token(ShipId("ship-0001"))
