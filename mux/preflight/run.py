"""Which checks an event needs, and in which order they are told.

Owns the composition: facts are gathered side by side, then judged. Knows no backend's details.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mux.config import EventFile, resolved
from mux.core.plural import counted
from mux.preflight import addresses, machine
from mux.preflight.finding import Finding, ok
from mux.tls.certificate import Certificate, CertificateError, fitting_pair, read_file

if TYPE_CHECKING:
    from mux.preflight.ec2_gather import Ec2Gatherer


async def preflight(file: EventFile, environ: Mapping[str, str], gatherer: Ec2Gatherer | None = None) -> list[Finding]:
    """Every finding of an event, in the order in which people should read them.

    Args:
        file: the event file, which is well-formed.
        environ: ``DOCKER_HOST`` and registry logins are read from it.
        gatherer: asks EC2; None for one with the credentials that the AWS tools would find.
    """
    here = await asyncio.to_thread(machine.gathered, file)
    backend = _cloud(file, environ, gatherer) if file.fleet.provider == "ec2" else _machine(file, environ, here)
    (found, skew_s), files, front = await asyncio.gather(
        backend, _bucket(file), _addresses(file, mux_runs=here.mux_runs)
    )
    clock = addresses.judged_clock(addresses.clock_synchronised(), skew_s)
    return [_sizes(file), *found, *files, machine.judged_listeners(here), *front, clock]


async def _machine(
    file: EventFile, environ: Mapping[str, str], here: machine.MachineFacts
) -> tuple[list[Finding], float | None]:
    images = await machine.judged_images(file, environ)
    return [*machine.judged(here, file), *images], None


async def _cloud(
    file: EventFile, environ: Mapping[str, str], gatherer: Ec2Gatherer | None
) -> tuple[list[Finding], float | None]:
    from mux.preflight import cloud  # noqa: PLC0415 - reading what clouds are takes long

    return await cloud.judged(file, environ, gatherer)


async def _bucket(file: EventFile) -> list[Finding]:
    if file.files.store != "s3":
        return []
    from mux.preflight import bucket  # noqa: PLC0415 - reading what clouds are takes long

    return await bucket.checked(file)


def _sizes(file: EventFile) -> Finding:
    fleet = file.fleet
    seats, each = counted(fleet.seats_wanted, "seat"), counted(fleet.seats_per_ship, "seat")
    said = f"{seats} wanted; ships: {fleet.ships_wanted}, with {each} each"
    return ok("event file", f"{said}; projects: {', '.join(project.name for project in file.projects)}")


async def _addresses(file: EventFile, *, mux_runs: bool) -> list[Finding]:
    """What browsers will meet."""
    now = datetime.fromtimestamp(time.time(), UTC)
    event = file.event
    looks = await asyncio.gather(
        addresses.look("attendees", event.public_address), addresses.look("organizers", event.admin_address)
    )
    findings = [finding for facts in looks for finding in addresses.judged_address(facts, now, mux_runs=mux_runs)]
    findings += await asyncio.to_thread(_certificates, file, now)
    front = addresses.judged_front(file.tls.certificates, event.public_address, file.tls.trusted_proxies)
    return [*findings, front] if front else findings


def _certificates(file: EventFile, now: datetime) -> list[Finding]:
    """The organizers' own files, which are judged before mux has ever served them."""
    tls, event = file.tls, file.event
    if tls.certificates != "files" or tls.certificate is None or tls.key is None:
        return []
    pairs = [("attendees", tls.certificate, tls.key, event.public_address.host)]
    if event.admin_address.scheme == "https":
        own = tls.admin_certificate is not None and tls.admin_key is not None
        chain, key = (tls.admin_certificate, tls.admin_key) if own else (tls.certificate, tls.key)
        pairs.append(("organizers", chain or tls.certificate, key or tls.key, event.admin_address.host))
    findings = []
    for name, chain, key, host in pairs:
        found: Certificate | str
        try:
            chain_pem, key_pem = read_file(resolved(file.base, chain)), read_file(resolved(file.base, key))
            found, _ = fitting_pair(chain_pem, key_pem, [host], now)
        except CertificateError as error:
            found = str(error)
        findings.append(addresses.judged_certificate(name, found, now))
    return findings
