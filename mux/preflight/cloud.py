"""A preflight of the provider `ec2`: from the event file's words to its findings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mux.config import ConfigError, EventFile, ports_per_ship
from mux.config.ec2 import MARKETS
from mux.config.registry_logins import registry_logins
from mux.config.spec import spend_spec
from mux.core.spend import MICROS
from mux.preflight import balancers, ec2_checks, images
from mux.preflight.ec2_facts import Ec2Facts, Ec2Wanted
from mux.preflight.ec2_gather import Ec2Gatherer
from mux.preflight.finding import Finding, failure
from mux.preflight.room import GIB, Machine, Project, cpus_fit, disk_fits, memory_fits
from mux.registry import Login, RegistryClient

PLATFORMS: Mapping[str, str] = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
"""What a registry calls EC2's architectures."""
MIB = 1 << 20


def wanted_of(file: EventFile) -> Ec2Wanted:
    """What an event file asks of EC2. The file has been checked: whatever the provider needs is there."""
    table, fleet = file.ec2, file.fleet
    first = fleet.ports.first
    return Ec2Wanted(
        event=file.event.name,
        region=table.region or "",
        image=table.image or "",
        instance_types=table.instance_types or (),
        subnets=table.subnets or (),
        security_groups=table.security_groups or (),
        markets=MARKETS[table.market],
        disk_gib=table.disk_gib,
        ships=fleet.ships_wanted,
        seats_per_ship=fleet.seats_per_ship,
        control_port=file.listen.control.port,
        workspace_ports=(first, first + ports_per_ship(file) - 1),
        endpoint=table.endpoint or "",
        instance_profile=table.instance_profile or "",
        control_host=table.control_host or file.listen.control.host,
        spot_prices=_spot_prices(file),
        currency=file.spend.currency,
    )


def _spot_prices(file: EventFile) -> dict[str, float]:
    """What the event file says that spot machines cost, as the estimates count; empty where it says nothing."""
    spend = spend_spec(file)
    kinds = spend.kinds if spend.known else ()
    return {kind: spend.price(kind, spot=True) / MICROS for kind in kinds}


async def judged(
    file: EventFile, environ: Mapping[str, str], gatherer: Ec2Gatherer | None = None
) -> tuple[list[Finding], float | None]:
    """Every finding about the cloud and the images, and this machine's clock ahead of the cloud's in seconds.

    Args:
        file: the event file.
        environ: registry logins are read from it.
        gatherer: asks EC2; None for one with the credentials that the AWS tools would find.
    """
    wanted = wanted_of(file)
    facts = await (gatherer or Ec2Gatherer(wanted)).facts()
    findings = ec2_checks.judged(wanted, facts)
    platform = PLATFORMS.get(facts.machine_image.architecture if facts.machine_image else "", "linux/amd64")
    found, images_bytes = await _images(file, environ, platform)
    findings += [*_room(file, facts, images_bytes), *found, *await _balancers(file, facts)]
    return findings, facts.skew_s


async def _balancers(file: EventFile, facts: Ec2Facts) -> list[Finding]:
    """What ends TLS in front of mux, where mux itself does not."""
    public = file.event.public_address
    if not facts.account or public.scheme != "https" or file.tls.certificates != "none":
        return []
    return balancers.judged(await balancers.gathered(file.ec2.region or "", await balancers.resolved(public.host)))


def _room(file: EventFile, facts: Ec2Facts, images_bytes: int | None) -> list[Finding]:
    """Seats against every type that may be launched: each one must hold them."""
    projects = [Project(each.name, each.memory_bytes, each.cpus) for each in file.projects]
    seats = file.fleet.seats_per_ship
    findings = []
    for each in facts.types:
        machine = Machine(each.name, each.memory_mib * MIB, each.vcpus)
        findings += [memory_fits(machine, projects, seats), cpus_fit(machine, projects, seats)]
    return [*findings, disk_fits(file.ec2.disk_gib * GIB, images_bytes, seats, "a ship")]


async def _images(file: EventFile, environ: Mapping[str, str], platform: str) -> tuple[list[Finding], int | None]:
    try:
        logins = await registry_logins(file, file.base, environ)
    except ConfigError as error:
        return [failure("registry login", str(error.faults[0]), "correct [registry]")], None
    by_host = {login.host: Login(login.username, login.password) for login in logins}
    async with RegistryClient(by_host) as client:
        facts = await asyncio.gather(
            *(images.ask(client, project.name, project.image, platform) for project in file.projects)
        )
    return [images.judged_image(each) for each in facts], images.total_bytes(facts)
