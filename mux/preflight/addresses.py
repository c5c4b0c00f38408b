"""Host names, certificates and clocks: what browsers meet before they meet mux."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mux.config import Address
from mux.preflight.finding import Finding, failure, ok, warning
from mux.tls.certificate import Certificate

LOOK_S: Final = 10.0
"""For a name, or a handshake."""
DAYS_LEFT_MIN: Final = 7.0
"""A certificate should outlast the event, and the days before it."""
SKEW_OK_S: Final = 5.0
SKEW_MAX_S: Final = 240.0
"""Signed requests to clouds are refused at five minutes; tokens and certificates are of no use before that."""
_TIME_ERROR: Final = 5
"""State of adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES: Final = 512
"""More than ``struct timex`` has anywhere."""


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """What one address shows.

    Args:
        name: ``attendees`` or ``organizers``.
        address: as the event file has it.
        resolved: IP addresses of its name; empty if it has none.
        answers: whether somebody takes connections there.
        tls_fault: why a browser would refuse the certificate; empty for nothing.
        ends_at: when the certificate that is served ends; None for unknown.
    """

    name: str
    address: Address
    resolved: tuple[str, ...]
    answers: bool
    tls_fault: str = ""
    ends_at: datetime | None = None


async def look(name: str, address: Address, trusted: ssl.SSLContext | None = None) -> AddressFacts:
    """Resolve a name, connect, and shake hands. ``trusted``: instead of the system's authorities."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_S):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return AddressFacts(name, address, (), answers=False)
    resolved = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    tls = (trusted or ssl.create_default_context()) if address.scheme == "https" else None
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=tls, server_hostname=address.host if tls else None
            )
    except ssl.SSLCertVerificationError as error:
        return AddressFacts(name, address, resolved, answers=True, tls_fault=error.verify_message)
    except ssl.SSLError as error:
        return AddressFacts(name, address, resolved, answers=True, tls_fault=str(error.reason or "no TLS"))
    except (OSError, TimeoutError):
        return AddressFacts(name, address, resolved, answers=False)
    ends_at = None
    if tls is not None:
        certificate = writer.get_extra_info("peercert") or {}
        ends_at = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    writer.close()
    return AddressFacts(name, address, resolved, answers=True, ends_at=ends_at)


def judged_address(facts: AddressFacts, now: datetime, *, mux_runs: bool) -> list[Finding]:
    """What an address's facts mean.

    Args:
        facts: the address.
        now: UTC.
        mux_runs: mux is running on this machine.
    """
    check, host = f"{facts.name}' name", facts.address.host
    if not facts.resolved:
        remedy = "make an A or AAAA record that leads to the mux's machine, or to the load balancer"
        return [failure(check, f"{host} has no address in DNS", remedy)]
    findings = [ok(check, f"{host} leads to {', '.join(facts.resolved[:4])}")]
    check = f"{facts.name}' address"
    if not facts.answers:
        text = f"nothing answers at {facts.address.origin}"
        if facts.address.loopback and not mux_runs:
            return [*findings, ok(check, f"{text} yet: mux is not running")]
        return [*findings, warning(check, text, "start mux, open the port in the firewall, and check again")]
    if facts.tls_fault:
        text = f"a browser would refuse {facts.address.origin}: {facts.tls_fault}"
        return [*findings, failure(check, text, "look at `mux tls status`; docs/how-to/tls.md says how to get one")]
    if facts.ends_at is None:
        return [*findings, ok(check, f"{facts.address.origin} answers")]
    return [*findings, _lasting(check, facts.address.origin, facts.ends_at, now)]


def judged_certificate(name: str, found: Certificate | str, now: datetime) -> Finding:
    """What a certificate in a file means; a text is why it does not fit."""
    check = f"{name}' certificate"
    if isinstance(found, str):
        return failure(check, found, "put key and chain in place that fit; docs/how-to/tls.md says how")
    return _lasting(check, ", ".join(found.names)[:100], found.not_after, now)


def _lasting(check: str, whose: str, ends_at: datetime, now: datetime) -> Finding:
    days = round((ends_at - now).total_seconds() / 86_400, 1)
    said = f"the certificate of {whose} lasts {days:g} days more"
    numbers = {"number": days, "limit": DAYS_LEFT_MIN, "unit": "days"}
    if days >= DAYS_LEFT_MIN:
        return ok(check, said, **numbers)
    return warning(check, said, "renew it before the event", **numbers)


def judged_front(mode: str, public: Address, trusted_proxies: Sequence[str]) -> Finding | None:
    """Whether something ends TLS where mux does not; None where there is nothing to say."""
    if public.scheme != "https" or mode != "none":
        return None
    if trusted_proxies:
        return ok("TLS", f"ends in front of mux, at {', '.join(trusted_proxies)[:100]}")
    text = f"{public.origin} is https, and neither tls.certificates nor tls.trusted_proxies is set"
    return warning("TLS", text, "list the load balancer in tls.trusted_proxies, or let mux serve TLS itself")


def clock_synchronised() -> bool | None:
    """Whether the kernel says that its clock is kept right (adjtimex(2)); None where it does not say."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


def judged_clock(synchronised: bool | None, skew_s: float | None = None) -> Finding:
    """What the clock's facts mean.

    Args:
        synchronised: as the kernel says; None for unknown.
        skew_s: ahead of a server's clock that is known to be right; None if none was asked.
    """
    remedy = "install chrony, or start systemd-timesyncd"
    if skew_s is not None:
        said = f"the clock differs from the cloud's by {abs(skew_s):.0f} s"
        numbers = {"number": round(abs(skew_s), 1), "limit": SKEW_OK_S, "unit": "s"}
        if abs(skew_s) >= SKEW_MAX_S:
            return failure("clock", said, remedy, **numbers)
        return ok("clock", said, **numbers) if abs(skew_s) <= SKEW_OK_S else warning("clock", said, remedy, **numbers)
    if synchronised is None:
        return warning("clock", "the system does not say whether its clock is right", "compare it with another one")
    if not synchronised:
        return warning("clock", "the system's clock is not synchronised", remedy)
    return ok("clock", "the system's clock is synchronised")
