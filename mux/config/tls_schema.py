"""The table ``[tls]`` of an event file: as `mux.config.schema` has the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from mux.config import kinds, tls_kinds
from mux.config.tables import Key, Table


class TlsTable(Table):
    """Where certificates come from."""

    doc: ClassVar[str] = (
        "TLS on the addresses that begin with https://. Ships have a certificate authority of their own."
    )

    certificates: Annotated[
        str,
        Key(
            kinds.choice("none", "files", "acme"),
            "none: no TLS here; this machine alone, or a load balancer in front that ends it. files: yours. "
            "acme: fetched and renewed by mux; with it you agree to the authority's terms of service.",
            "files",
        ),
    ] = "none"
    certificate: Annotated[
        Path | None,
        Key(
            kinds.path(),
            "Certificate with its chain (PEM), for both names unless admin_certificate is set. A change is noticed.",
            "tls/chain.pem",
        ),
    ] = None
    key: Annotated[
        Path | None, Key(kinds.path(), "Private key of the certificate (PEM, no password).", "tls/key.pem")
    ] = None
    admin_certificate: Annotated[
        Path | None,
        Key(kinds.path(), "Certificate with its chain for the organizers' name.", "tls/admin-chain.pem"),
    ] = None
    admin_key: Annotated[Path | None, Key(kinds.path(), "Private key of that certificate.", "tls/admin-key.pem")] = None
    acme_directory: Annotated[
        str,
        Key(
            tls_kinds.https_url(),
            "The ACME authority. Default: Let's Encrypt.",
            "https://acme-staging-v02.api.letsencrypt.org/directory",
        ),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    acme_email: Annotated[
        str,
        Key(
            kinds.text(254, chars_min=0, pattern=r"(?:[^@ ]+@[^@ ]+)?", allowed="an e-mail address, or an empty text"),
            "Whom the authority may write to.",
            "camp@example.org",
        ),
    ] = ""
    acme_trust: Annotated[
        Path | None,
        Key(
            kinds.path(),
            "Authorities (PEM) that the ACME server's own certificate is checked against. Default: the system's.",
            "tls/acme-root.pem",
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key(
            tls_kinds.proxies(),
            "Load balancers in front of mux: what they say of a browser's address is believed. Nobody else's word is.",
            ["10.0.0.0/16"],
        ),
    ] = ()
