"""Which chain and key are fit to be served."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from mux.tls.certificate import CertificateError, fitting_pair, read_chain, read_file
from mux.tls.context import CertificateFileError, ServerContext
from tests.certificates import Authority

NOW = dt.datetime.now(dt.UTC)
AUTHORITY = Authority()
GOOD = AUTHORITY.issue("camp.test", "*.crew.test", "192.0.2.7")


def test_a_pair_that_fits_is_taken_whole() -> None:
    certificate, content = fitting_pair(GOOD.chain + AUTHORITY.pem, GOOD.key, ["camp.test", "192.0.2.7"], NOW)
    assert certificate.names == ("camp.test", "*.crew.test", "192.0.2.7")
    assert certificate.issuer == "an authority of a test"
    assert content == GOOD.key + GOOD.chain + AUTHORITY.pem
    lifetime = certificate.not_after - certificate.not_before
    assert abs((certificate.renews_at - certificate.not_before) - lifetime * 2 / 3) < dt.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("camp.test", True),
        ("www.camp.test", False),
        ("olga.crew.test", True),
        ("crew.test", False),
        ("a.b.crew.test", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
    ],
)
def test_names_are_matched_as_browsers_do(host: str, covered: bool) -> None:
    assert read_chain(GOOD.chain).covers(host) is covered


def encrypted(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


@pytest.mark.parametrize(
    ("chain", "key", "words"),
    [
        (b"", GOOD.key, "no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", GOOD.key, "no certificate in PEM"),
        (GOOD.chain, b"", "no private key in PEM"),
        (GOOD.chain, GOOD.chain, "no private key in PEM"),
        (GOOD.chain, encrypted(GOOD.key), "has a password"),
        (GOOD.chain, AUTHORITY.issue("camp.test").key, "another certificate's"),
        (AUTHORITY.pem + GOOD.chain, GOOD.key, "names no host"),
        (AUTHORITY.issue("other.test").chain + GOOD.chain, GOOD.key, "another certificate's"),
    ],
)
def test_what_does_not_fit_is_told(chain: bytes, key: bytes, words: str) -> None:
    with pytest.raises(CertificateError, match=words):
        fitting_pair(chain, key, ["camp.test"], NOW)


def test_a_certificate_that_is_over_or_for_another_name_is_told() -> None:
    with pytest.raises(CertificateError, match=r"not for other\.test"):
        fitting_pair(GOOD.chain, GOOD.key, ["camp.test", "other.test"], NOW)
    with pytest.raises(CertificateError, match="ended on"):
        fitting_pair(GOOD.chain, GOOD.key, ["camp.test"], NOW + dt.timedelta(days=8))


def test_files_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (300 * 1024))
    with pytest.raises(CertificateError, match="larger than"):
        read_file(tmp_path / "large")
    with pytest.raises(CertificateError, match="No such file"):
        read_file(tmp_path / "none")


def test_a_key_with_a_password_never_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "pair.pem").write_bytes(encrypted(GOOD.key) + GOOD.chain)
    with pytest.raises(CertificateFileError, match="password"):
        ServerContext().load(tmp_path / "pair.pem")
