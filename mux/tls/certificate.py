"""Certificates as files: read, judged, and written for the listeners.

Owns what makes a key and a chain fit for a name. Rules: a pair that does not fit never takes the place of one that
does; a file with a key is 0600 and replaced whole.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

FILE_BYTES_MAX = 256 * 1024
"""A chain, or a key: under 10 KB."""
NAMES_MAX = 100
"""Names of one certificate: the bound that ACME authorities have."""


class CertificateError(Exception):
    """A key and a chain are not fit to be served; one line for people."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's own certificate, the first of its chain.

    Args:
        names: host names and IP addresses that it is for.
        issuer: who signed it, in words.
        not_before, not_after: when it is valid, UTC.
        sha256: of its DER, hexadecimal.
    """

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    sha256: str

    @property
    def renews_at(self) -> datetime:
        """When a third of its time is left: early enough for days of trouble, whatever its lifetime."""
        return self.not_after - (self.not_after - self.not_before) / 3

    def covers(self, host: str) -> bool:
        """Whether it is for a host (RFC 6125 section 6.4.3: a wildcard is one whole label, the first)."""
        if host in self.names:
            return True
        first, dot, rest = host.partition(".")
        return bool(first and dot) and not _is_ip(host) and f"*.{rest}" in self.names


def fitting_pair(chain: bytes, key: bytes, hosts: Iterable[str], now: datetime) -> tuple[Certificate, bytes]:
    """Judge a chain and its key.

    Args:
        chain: PEM, the server's own certificate first.
        key: PEM, without a password.
        hosts: what it must be for.
        now: UTC.

    Returns:
        The certificate, and one PEM text of key and chain as listeners load it.

    Raises:
        CertificateError: the two do not fit together, or the certificate is over or for another name.
    """
    certificate = read_chain(chain)
    try:
        private = load_pem_private_key(key, None)
    except TypeError as error:
        raise CertificateError("the key has a password; mux needs one without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("the key is no private key in PEM") from error
    own = x509.load_pem_x509_certificates(chain)[0].public_key()
    if _spki(private.public_key()) != _spki(own):
        raise CertificateError(
            "the key is another certificate's: the first certificate of the chain must be the server's"
        )
    if certificate.not_after <= now:
        raise CertificateError(f"the certificate ended on {certificate.not_after:%Y-%m-%d %H:%M} UTC; get another one")
    missing = [host for host in hosts if not certificate.covers(host)]
    if missing:
        raise CertificateError(
            f"the certificate is for {', '.join(certificate.names)[:200] or 'no name'}, not for {', '.join(missing)}"
        )
    return certificate, key.rstrip() + b"\n" + chain


def read_chain(chain: bytes) -> Certificate:
    """The first certificate of a chain. Raises CertificateError."""
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
        alternative = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise CertificateError(
            "the certificate names no host (it has no subjectAltName); browsers refuse it"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("the chain holds no certificate in PEM") from error
    names = [str(name).casefold() for name in alternative.get_values_for_type(x509.DNSName)]
    names += [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    return Certificate(
        tuple(names[:NAMES_MAX]),
        _words(first.issuer),
        first.not_valid_before_utc,
        first.not_valid_after_utc,
        first.fingerprint(SHA256()).hex(),
    )


def read_file(path: Path) -> bytes:
    """A bounded file. Raises CertificateError."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise CertificateError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    return raw


def write_file(path: Path, content: bytes) -> None:
    """Replace a file atomically, 0600. Raises OSError."""
    path.parent.mkdir(exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _words(name: x509.Name) -> str:
    for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        found = name.get_attributes_for_oid(oid)
        if found:
            return str(found[0].value)[:200]
    return name.rfc4514_string()[:200]


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
