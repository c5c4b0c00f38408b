"""The event files of a history: as first applied, and changed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from mux.core.model import EventSpec, FleetSpec, ProjectName, ProjectSpec
from mux.core.timetable import Timetable
from tests.sim.actions import Scenario

HEARTBEAT_S = 10.0


def event_spec(scenario: Scenario, version: int, change: int) -> EventSpec:
    """The event file: as first applied, or with other images, fewer or more seats, one project fewer."""
    names = scenario.projects[:-1] if change == 3 and len(scenario.projects) > 1 else scenario.projects
    projects = []
    for name in names:
        image = sha256(f"{name} {version % 3 if change else 0}".encode()).hexdigest()
        spec = ProjectSpec(ProjectName(name), f"images/{name}", f"sha256:{image}")
        projects.append(replace(spec, start="on_use" if name == "lazy" else "warm", has_secrets=name == "kept"))
    fleet = FleetSpec(
        attendees=max(1, scenario.attendees + (version % 5 - 2 if change == 2 else 0)),
        seats_per_ship=scenario.seats_per_ship,
        spare_seats=scenario.spare_seats,
        ready_seats=scenario.ready_seats,
        heartbeat_s=HEARTBEAT_S,
        heartbeat_grace_s=25.0,
        lost_after_s=20.0,
        boot_deadline_s=90.0,
        launch_failures_max=2,
        launch_backoff_s=2.0,
        launch_backoff_max_s=20.0,
        launches_in_flight_max=max(2, scenario.attendees // 3),
        surplus_hold_s=20.0,
        listing_s=15.0,
    )
    timetable = Timetable(cool="park" if scenario.seed % 2 else "end")
    return EventSpec("room", tuple(projects), fleet, timetable)
