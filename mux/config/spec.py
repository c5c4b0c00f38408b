"""From an event file to what the core decides by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from mux.config.ec2 import MARKETS
from mux.config.rollout_schema import RolloutTable
from mux.config.schema import EventFile, ProjectTable, resolved
from mux.config.warming_checks import timestamp
from mux.core.model import EventSpec, FleetSpec, PortName, ProjectName, ProjectSpec, RolloutSpec
from mux.core.spend import MICROS, SpendSpec
from mux.core.timetable import LetGo, Timetable


def to_spec(file: EventFile, digests: Mapping[ProjectName, str]) -> EventSpec:
    """The part of the event file that the core decides by.

    Args:
        file: the event file.
        digests: what each project's image resolved to, see `resolve_images`.
    """
    fleet = file.fleet
    return EventSpec(
        name=file.event.name,
        projects=tuple(_project(file, project, digests[ProjectName(project.name)]) for project in file.projects),
        fleet=FleetSpec(
            attendees=fleet.attendees,
            seats_per_ship=fleet.seats_per_ship,
            spare_seats=fleet.spare_seats,
            ready_seats=fleet.effective_ready_seats,
            heartbeat_s=fleet.heartbeat_s,
            heartbeat_grace_s=fleet.heartbeat_grace_s,
            lost_after_s=fleet.lost_after_s,
            boot_deadline_s=fleet.boot_deadline_s,
            launch_failures_max=fleet.launch_failures_max,
            launch_backoff_s=fleet.launch_backoff_s,
            launch_backoff_max_s=fleet.launch_backoff_max_s,
            launches_in_flight_max=fleet.launches_in_flight_max,
            surplus_hold_s=fleet.surplus_hold_s,
            listing_s=fleet.listing_s,
            install_deadline_s=file.warming.install_deadline_s,
            pull_deadline_s=file.warming.pull_deadline_s,
            start_deadline_s=file.warming.start_deadline_s,
            warming_stall_s=file.warming.stall_s,
        ),
        timetable=_timetable(file),
        spend=spend_spec(file),
        rollout=_rollout(file.rollout),
    )


def _rollout(table: RolloutTable) -> RolloutSpec:
    share, count = table.at_once
    return RolloutSpec(
        share=share,
        count=count,
        monitor_s=table.monitor_s,
        start_max_s=table.start_max_s,
        failures_max=table.failures_max,
        idle_after_s=table.idle_after_s,
    )


def _timetable(file: EventFile) -> Timetable:
    table, zone = file.timetable, file.event.time_zone
    return Timetable(
        **{name: timestamp(at, zone) for name, at in table.in_order},
        cool=cast(LetGo, table.cool),
        stop=cast(LetGo, table.stop),
    )


def spend_spec(file: EventFile) -> SpendSpec:
    """What the core counts money by."""
    table, ec2 = file.spend, file.fleet.provider == "ec2"
    return SpendSpec(
        price_micros=_micros_or_none(table.price_per_ship_hour),
        prices_micros={kind: _micros(price) for kind, price in table.prices.items()},
        spot_price_micros=_micros_or_none(table.spot_price_per_ship_hour),
        spot_prices_micros={kind: _micros(price) for kind, price in table.spot_prices.items()},
        kinds=(file.ec2.instance_types or ()) if ec2 else (),
        markets=MARKETS[file.ec2.market] if ec2 else (False,),
        limit=table.limit,
        hours=table.hours,
        currency=table.currency,
    )


def _micros_or_none(price: float | None) -> int | None:
    return None if price is None else _micros(price)


def _micros(price: float) -> int:
    return round(price * MICROS)


def _project(file: EventFile, project: ProjectTable, digest: str) -> ProjectSpec:
    # A directory is named absolutely: a ship does not run in the event file's directory.
    image = str(resolved(file.base, project.image)) if file.fleet.runtime == "process" else project.image
    return ProjectSpec(
        name=ProjectName(project.name),
        image=image,
        digest=digest,
        title=project.shown_title,
        kind=cast(Literal["jupyter", "camp", "http"], project.kind),
        start=cast(Literal["warm", "on_use"], project.start),
        port=project.effective_port,
        command=project.command,
        environment=_environment(file, project),
        memory_bytes=project.memory_bytes,
        cpus=project.cpus,
        pids=project.pids,
        shm_bytes=project.shm_bytes,
        health_path=project.effective_health_path,
        has_secrets=project.secrets is not None,
        egress=project.egress,
        allow=project.allow,
        root_filesystem=cast(Literal["auto", "read_only", "writable"], project.root_filesystem),
        oci_runtime=project.oci_runtime,
        ports={PortName(name): port for name, port in project.ports.items()},
        ports_with_prefix=tuple(map(PortName, project.ports_with_prefix)),
        shared=project.shared,
    )


def _environment(file: EventFile, project: ProjectTable) -> dict[str, str]:
    """The project's variables; a camp image is told where it is found, as its start script expects."""
    if project.kind != "camp":
        return dict(project.environment)
    return {"CAMP_HOST": file.event.public_address.origin.partition("://")[2], **project.environment}
