"""The mux's own certificate authority, for the control channel and nothing else.

Owns ``<data>/ca/``: ``ca.key`` (EC P-256, 0600), ``ca.pem`` (its certificate, about ten years) and ``server.pem`` (key
and certificate of the control listener, 0600, issued anew at each start). Knows nothing of links or ships.

Rules: what agents trust (``ca.pem``) outlives every restart, so it is never replaced once it is there; a damaged file
stops the start with one line, since a new CA would lock out every ship that runs.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_VALID = timedelta(days=3650)
"""Ships hold this certificate from their launch on; a parked one may come back a year later."""
SERVER_VALID = timedelta(days=90)
"""The listener's certificate, issued at each start. Links that stand are not touched when it ends; new ones are."""
CLOCK_SKEW = timedelta(days=1)
"""Certificates begin this long ago: a machine that has just booted may not know the time yet."""


class CaError(Exception):
    """The CA cannot be used; one line that says what to do."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the control listener serves with.

    Args:
        context: TLS 1.2 or later, with the leaf certificate.
        sha256: of the leaf certificate in DER, 64 hex digits; ships sign it.
        expires_at: when the leaf certificate ends.
    """

    context: ssl.SSLContext
    sha256: str
    expires_at: datetime


class ControlCa:
    """The certificate authority; use `open`."""

    def __init__(self, directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._directory = directory
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, directory: Path, now: datetime) -> ControlCa:
        """Read the CA, or make it when there is none; a crash in between is made good.

        Args:
            directory: made with mode 0700 if need be.
            now: with time zone.

        Raises CaError.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            key_path, certificate_path = directory / "ca.key", directory / "ca.pem"
            if not key_path.exists():
                if certificate_path.exists():
                    raise CaError(f"{key_path} is missing, but {certificate_path} is there; restore it from a backup")
                _write(key_path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
            key = _load_key(key_path)
            if not certificate_path.exists():
                _write(certificate_path, _self_signed(key, now).public_bytes(Encoding.PEM))
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            certificate.verify_directly_issued_by(certificate)
        except OSError as error:
            raise CaError(f"{directory}: {error.strerror}; mux needs to read and write it") from error
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CaError(f"{directory}/ca.pem is damaged; restore it from a backup") from error
        if certificate.public_key() != key.public_key():
            raise CaError(f"{directory}: ca.key and ca.pem do not belong together; restore both from one backup")
        if certificate.not_valid_after_utc <= now:
            raise CaError(f"{directory}/ca.pem has expired; delete {directory} and launch the fleet anew")
        return cls(directory, key, certificate)

    @property
    def pem(self) -> str:
        """The CA's certificate, for launch orders: all that an agent trusts."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, names: Sequence[str], now: datetime) -> ServerTls:
        """A fresh certificate for the control listener.

        Args:
            names: host names and IP addresses that ships dial; at least one.
            now: with time zone.

        Raises CaError for a name that no certificate can hold, or when the file cannot be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign_server(key, names, now)
        path = self._directory / "server.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            _write(path, _key_pem(key) + certificate.public_bytes(Encoding.PEM))
            context.load_cert_chain(path)
        except OSError as error:
            raise CaError(f"{path}: {error.strerror}; mux needs to write it") from error
        der = certificate.public_bytes(Encoding.DER)
        return ServerTls(context, hashlib.sha256(der).hexdigest(), certificate.not_valid_after_utc)

    def _sign_server(self, key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime) -> x509.Certificate:
        if not names:
            raise CaError("the control listener has no name; set the address that ships dial")
        authority = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(_name("mux control"))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(min(now + SERVER_VALID, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority),
                critical=False,
            )
            .sign(self._key, SHA256())
        )


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    # The name differs from other installations' so that a mix-up shows in error texts.
    name = _name(f"mux control CA {secrets.token_hex(4)}")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + CA_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    """An entry of the subject alternative name (RFC 5280 section 4.2.1.6): addresses and names are matched apart."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise CaError(f"{name!r} cannot stand in a certificate; write a host name in its ASCII form") from error


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CaError(f"{path} is damaged; restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CaError(f"{path} is not an elliptic-curve key; restore it from a backup")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Replace a file atomically, 0600: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
