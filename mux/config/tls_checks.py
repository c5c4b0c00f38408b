"""Rules of an event file about TLS that span keys, and the files that they name.

Each rule names the keys that it involves, as those of `mux.config.checks` do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from mux.config.faults import Fault, shown
from mux.config.schema import EventFile, resolved

Rule = tuple[tuple[str, ...], Fault]


def checked_tls(file: EventFile) -> Iterator[Rule]:
    """Faults between keys."""
    tls, event = file.tls, file.event
    if tls.certificates != "none" and event.public_address.scheme != "https":
        yield (
            ("tls.certificates", "event.public_address"),
            Fault(
                "tls.certificates",
                f"{shown(tls.certificates)}, where event.public_address is {shown(str(event.public_address))}",
                "an event.public_address that begins with https://",
            ),
        )
    if tls.certificates == "files" and tls.certificate is None:
        yield (
            ("tls.certificate", "tls.certificates"),
            Fault("tls.certificate", "nothing", "a PEM file, since tls.certificates is files"),
        )
    for one, other in (("certificate", "key"), ("admin_certificate", "admin_key")):
        if (getattr(tls, one) is None) != (getattr(tls, other) is None):
            missing = one if getattr(tls, one) is None else other
            yield (
                (f"tls.{one}", f"tls.{other}"),
                Fault(f"tls.{missing}", "nothing", f"a PEM file: tls.{one} and tls.{other} belong together"),
            )
    if tls.certificates == "acme":
        yield from _acme(file)


def _acme(file: EventFile) -> Iterator[Rule]:
    if file.listen.http is None:
        yield (
            ("listen.http", "tls.certificates"),
            Fault("listen.http", "nothing", "a listener on port 80, where the authority asks", '"0.0.0.0:80"'),
        )
    for name in ("public_address", "admin_address"):
        address = getattr(file.event, name)
        if address.scheme == "https" and _is_ip(address.host):
            yield (
                (f"event.{name}", "tls.certificates"),
                Fault(f"event.{name}", shown(str(address)), "a host name: an authority certifies names only"),
            )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def checked_tls_files(file: EventFile, base: Path) -> Iterator[Fault]:
    """Faults of the files that the table names: whether they fit together is looked at when mux starts."""
    for name in ("certificate", "key", "admin_certificate", "admin_key", "acme_trust"):
        path: Path | None = getattr(file.tls, name)
        if path is not None and not _is_file(resolved(base, path)):
            yield Fault(f"tls.{name}", f"{shown(str(path))}, which is no file", "a PEM file that exists")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
