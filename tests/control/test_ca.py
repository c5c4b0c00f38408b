"""The mux's own certificate authority."""

from __future__ import annotations

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mux.control import ca
from mux.control.ca import CaError, ControlCa
from tests.control.harness import now


def leaf(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "server.pem").read_bytes())


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """TLS in memory; the version that both agreed on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_side, server_side]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return client_side.version()
    raise AssertionError("the handshake does not end")


def test_a_ca_is_made_once_and_read_afterwards(tmp_path: Path) -> None:
    first = ControlCa.open(tmp_path / "ca", now())
    assert ControlCa.open(tmp_path / "ca", now()).pem == first.pem


def test_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    ControlCa.open(tmp_path / "ca", now()).issue(["127.0.0.1"], now())
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    for name in ("ca.key", "server.pem"):
        assert stat.S_IMODE((tmp_path / "ca" / name).stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in (tmp_path / "ca" / "ca.pem").read_bytes()


def test_the_ca_signs_servers_for_about_ten_years_and_nothing_below_them(tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(ControlCa.open(tmp_path, now()).pem.encode())
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert timedelta(days=3600) < certificate.not_valid_after_utc - now() < timedelta(days=3700)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


def test_two_installations_do_not_trust_each_other(tmp_path: Path) -> None:
    ours, theirs = ControlCa.open(tmp_path / "a", now()), ControlCa.open(tmp_path / "b", now())
    client = ssl.create_default_context(cadata=ours.pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(theirs.issue(["mux.example"], now()).context, client, "mux.example")


@pytest.mark.parametrize("name", ["mux.example", "127.0.0.1", "::1", "localhost"])
def test_a_server_is_trusted_under_its_names(tmp_path: Path, name: str) -> None:
    authority = ControlCa.open(tmp_path, now())
    tls = authority.issue(["mux.example", "127.0.0.1", "::1", "localhost"], now())
    client = ssl.create_default_context(cadata=authority.pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(tls.context, client, name) == "TLSv1.3"


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2", "sub.mux.example"])
def test_a_server_is_not_trusted_under_another_name(tmp_path: Path, name: str) -> None:
    authority = ControlCa.open(tmp_path, now())
    tls = authority.issue(["mux.example", "127.0.0.1"], now())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.context, ssl.create_default_context(cadata=authority.pem), name)


def test_a_servers_certificate_that_has_ended_is_not_trusted(tmp_path: Path) -> None:
    authority = ControlCa.open(tmp_path, now() - timedelta(days=200))
    tls = authority.issue(["mux.example"], now() - timedelta(days=120))
    assert tls.expires_at < now()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tls.context, ssl.create_default_context(cadata=authority.pem), "mux.example")


def test_a_machine_whose_clock_is_hours_behind_trusts_the_server(tmp_path: Path) -> None:
    issued = now() + timedelta(hours=12)
    authority = ControlCa.open(tmp_path, issued)
    tls = authority.issue(["mux.example"], issued)
    assert handshake(tls.context, ssl.create_default_context(cadata=authority.pem), "mux.example")


def test_each_issue_is_a_fresh_key_under_the_same_ca(tmp_path: Path) -> None:
    authority = ControlCa.open(tmp_path, now())
    first = authority.issue(["mux.example"], now())
    first_leaf = leaf(tmp_path)
    second = authority.issue(["mux.example"], now())
    assert first.sha256 != second.sha256
    assert first_leaf.public_key() != leaf(tmp_path).public_key()


def test_tls_below_1_2_is_refused(tmp_path: Path) -> None:
    assert ControlCa.open(tmp_path, now()).issue(["a.example"], now()).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_kill_between_key_and_certificate_is_made_good(tmp_path: Path) -> None:
    ControlCa.open(tmp_path, now())
    (tmp_path / "ca.pem").unlink()
    authority = ControlCa.open(tmp_path, now())
    client = ssl.create_default_context(cadata=authority.pem)
    assert handshake(authority.issue(["mux.example"], now()).context, client, "mux.example")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda d: (d / "ca.key").unlink(), "ca.key is missing"),
        (lambda d: (d / "ca.key").write_text("rubbish"), "ca.key is damaged"),
        (lambda d: (d / "ca.pem").write_text("rubbish"), "ca.pem is damaged"),
        (lambda d: (d / "ca.pem").write_text(""), "ca.pem is damaged"),
        (lambda d: (d / "ca.pem").write_text(ControlCa.open(d / "other", now()).pem), "do not belong together"),
    ],
)
def test_a_damaged_ca_is_one_clear_line_and_is_never_replaced(tmp_path: Path, damage: object, text: str) -> None:
    ControlCa.open(tmp_path, now())
    assert callable(damage)
    damage(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(CaError, match=text) as caught:
        ControlCa.open(tmp_path, now())
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_ca_that_has_ended_is_one_clear_line(tmp_path: Path) -> None:
    ControlCa.open(tmp_path, now() - ca.CA_VALID - timedelta(days=1))
    with pytest.raises(CaError, match="has expired"):
        ControlCa.open(tmp_path, now())


@pytest.mark.parametrize("names", [[], ["münchen.example"]])
def test_a_name_that_no_certificate_can_hold_is_one_clear_line(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(CaError):
        ControlCa.open(tmp_path, now()).issue(names, now())


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CaError, match="mux needs to read and write it"):
        ControlCa.open(tmp_path / "file" / "ca", now())
