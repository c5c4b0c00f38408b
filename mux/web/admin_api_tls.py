"""Handler of the admin API for TLS: which certificates are served, and what is wrong with those that should be."""

from __future__ import annotations

from pydantic import BaseModel

from mux.tls.keeper import SiteStatus
from mux.web.admin_api_deps import AdminDeps
from mux.web.admin_api_endpoint import Call
from mux.web.api_models import SiteOut, Tls


async def tls(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """How every site stands."""
    return Tls(sites=[_site(status) for status in deps.certificates()])


def _site(status: SiteStatus) -> SiteOut:
    found = status.certificate
    return SiteOut(
        name=status.site.name,
        host=status.site.host,
        names=list(found.names) if found else [],
        issuer=found.issuer if found else "",
        not_after_s=found.not_after.timestamp() if found else None,
        sha256=found.sha256 if found else "",
        fault=status.fault,
    )
