from __future__ import annotations

import dataclasses

from mux.config import ports_per_ship, to_spec
from mux.config.fleet_schema import FleetTable
from mux.config.warming_schema import WarmingTable
from mux.core.model import FleetSpec, ProjectName, ProjectSpec
from ship_agent.protocol import messages
from tests.config.files import VALID, changed, parsed

DIGESTS = {ProjectName("intro"): "sha256:" + "a" * 64, ProjectName("streaming"): "sha256:" + "b" * 64}


def test_the_core_is_given_what_the_file_says() -> None:
    spec = to_spec(parsed(changed('memory = "2GiB"', 'memory = "2GiB"\nsecrets = "s.csv"')), DIGESTS)
    intro, streaming = spec.projects
    assert spec.name == "camp-2026"
    assert spec.fleet == FleetSpec(attendees=6, seats_per_ship=2, spare_seats=1, ready_seats=6)
    assert intro == ProjectSpec(
        name=ProjectName("intro"),
        image="/event/images/intro",
        digest=DIGESTS[ProjectName("intro")],
        title="intro",
        memory_bytes=2 << 30,
        has_secrets=True,
    )
    assert (streaming.kind, streaming.start, streaming.health_path) == ("http", "on_use", "")
    assert streaming.environment == {"COURSE": "2026", "LEVEL": "three"}
    assert streaming.command == ("python3", "-m", "http.server", "{port}")


def test_a_camp_image_has_its_contracts_port_health_path_and_host() -> None:
    text = changed('kind = "http"', 'kind = "camp"').replace("[fleet]", '[fleet]\nruntime = "docker"')
    streaming = to_spec(parsed(text), DIGESTS).projects[1]
    assert (streaming.kind, streaming.port, streaming.health_path) == ("camp", 8080, "jupyter/api")
    assert streaming.landing == "jupyter/"
    assert streaming.environment == {"CAMP_HOST": "localhost:8000", "COURSE": "2026", "LEVEL": "three"}


def test_defaults_of_the_fleet_are_the_cores() -> None:
    names = {field.name: field.default for field in dataclasses.fields(FleetSpec)}
    for entry in FleetTable.entries():
        if entry.name in names and not entry.required and entry.name != "ready_seats":
            assert entry.default == names[entry.name], entry.name
    for entry in WarmingTable.entries():
        assert entry.default == names.get(entry.name, names.get(f"warming_{entry.name}")), entry.name


def test_every_field_of_the_core_comes_from_a_key() -> None:
    keys = {entry.attribute for entry in FleetTable.entries()}
    keys |= {name for entry in WarmingTable.entries() for name in (entry.attribute, f"warming_{entry.attribute}")}
    assert {field.name for field in dataclasses.fields(FleetSpec)} <= keys


def test_whatever_the_file_may_say_fits_the_control_protocol() -> None:
    text = changed('LEVEL = "three"', 'LEVEL = "' + "é" * 4096 + '"')
    text = changed('name = "streaming"', 'name = "' + "s" * 31 + '"\nhealth_path = "' + "h" * 256 + '"', text)
    text = changed('image = "images/intro"', 'image = "' + "i" * 900 + '"', text)
    file = parsed(text)
    for project in to_spec(file, {ProjectName(p.name): "sha256:" + "a" * 64 for p in file.projects}).projects:
        messages.Project(
            name=project.name,
            image=project.image,
            digest=project.digest,
            kind=project.kind,
            port=project.port,
            command=list(project.command),
            environment=dict(project.environment),
            memory_bytes=project.memory_bytes,
            cpus=project.cpus,
            pids=project.pids,
            shm_bytes=project.shm_bytes,
            base_path=f"/camp/{project.name}/",
            health_path=project.health_path,
        )


def test_a_ship_has_ports_to_replace_every_workspace_at_once() -> None:
    assert ports_per_ship(parsed(VALID)) == 2 * 2 * 2 + 4
