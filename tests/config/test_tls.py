"""What an event file may say of TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from mux.config import parse
from tests.config.files import VALID, changed, event_directory, faults_of, parsed

SECURE = VALID.replace("http://localhost:8000", "https://camp.localhost").replace(
    "http://127.0.0.1:8001", "https://crew.localhost"
)
FILES = '\n[tls]\ncertificates = "files"\ncertificate = "chain.pem"\nkey = "key.pem"\n'
ACME = '\n[listen]\nhttp = "127.0.0.1:80"\n[tls]\ncertificates = "acme"\n'


def test_files_and_acme_are_taken() -> None:
    assert parsed(SECURE + FILES).tls.certificate == Path("chain.pem")
    acme = parsed(SECURE + ACME)
    assert acme.tls.acme_directory.startswith("https://")
    assert str(acme.listen.http) == "127.0.0.1:80"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (VALID + FILES, "tls.certificates"),
        (SECURE + changed('key = "key.pem"\n', "", FILES), "tls.key"),
        (SECURE + '\n[tls]\ncertificates = "files"\n', "tls.certificate"),
        (SECURE + FILES + 'admin_key = "other.pem"\n', "tls.admin_certificate"),
        (SECURE + changed('http = "127.0.0.1:80"', "", ACME), "listen.http"),
        (SECURE.replace("crew.localhost", "127.0.0.1") + ACME, "event.admin_address"),
        (SECURE + ACME + 'acme_directory = "http://acme.test/dir"\n', "tls.acme_directory"),
        (SECURE + ACME + 'acme_email = "nobody"\n', "tls.acme_email"),
        (VALID + '\n[listen]\nhttp = "127.0.0.1:8000"\n', "listen.http"),
        (VALID + '\n[listen]\nhttp = "0.0.0.0:80"\n', "listen.http"),
    ],
)
def test_what_does_not_go_together_is_told(text: str, key: str) -> None:
    assert list(faults_of(lambda: parsed(text))) == [key]


@pytest.mark.parametrize("listed", ['"10.0.0.0/16"', '"everybody"', '"0.0.0.0/0"', '"::/0"', '"10.0.0.1/16"', "7"])
def test_who_is_believed_must_be_a_few(listed: str) -> None:
    text = VALID + f"\n[tls]\ntrusted_proxies = [{listed}]\n"
    if listed == '"10.0.0.0/16"':
        assert parsed(text).tls.trusted_proxies == ("10.0.0.0/16",)
    else:
        assert list(faults_of(lambda: parsed(text))) == ["tls.trusted_proxies[0]"]


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    base = event_directory(tmp_path)
    faults = faults_of(lambda: parse(SECURE + FILES, base=base, environ={}))
    assert list(faults) == ["tls.certificate", "tls.key"]
