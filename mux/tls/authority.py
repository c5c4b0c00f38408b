"""Certificates from an ACME authority (RFC 8555), proved over HTTP (http-01).

Owns the account key and one order at a time. Blocking: runs in a thread of its own. Rules: the account key is made once
and kept; a certificate's key is new with each order and leaves this module with it; an authority's words are bounded
and shown, never obeyed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy.errors import Error as JoseError
from josepy.jwk import JWK, JWKRSA

from mux.tls.certificate import CertificateError, read_file, write_file
from mux.tls.errors import AuthorityError

NETWORK_S = 30
"""For one answer of the authority."""
ORDER_S = 180.0
"""For a whole order: authorities ask from several places, and take seconds."""
WORDS_CHARS_MAX = 300
"""Of what an authority says, as people are shown it."""
ACCOUNT_KEY_BITS = 2048

Publish = Callable[[Mapping[str, str]], None]
"""Makes challenges (token to answer) known to whoever answers on port 80; returns when they are."""


class Authority:
    """One authority, and our account there.

    Args:
        directory: address of its directory.
        email: whom it may write to; empty for nobody.
        account_key: file of the account's key; made if it is not there.
        trust: authorities that its own certificate is checked against; None for the system's.
    """

    def __init__(self, directory: str, email: str, account_key: Path, trust: Path | None = None) -> None:
        self._directory = directory
        self._email = email
        self._account_key = account_key
        self._trust = trust

    @property
    def directory(self) -> str:
        """Address of its directory."""
        return self._directory

    def certificate(self, hosts: Sequence[str], publish: Publish) -> tuple[bytes, bytes]:
        """Get one certificate for all of ``hosts``.

        Returns:
            Chain and key, both PEM.

        Raises:
            AuthorityError: it did not work; with the authority's own words.
        """
        try:
            return self._ordered(hosts, publish)
        except errors.ValidationError as error:
            raise AuthorityError(_failed(error)) from error
        except errors.TimeoutError as error:
            raise AuthorityError(f"{self._directory} did not decide in time; mux tries again") from error
        except messages.Error as error:
            raise AuthorityError(f"the authority refused: {_words(error.detail or error.typ)}") from error
        except requests.RequestException as error:
            raise AuthorityError(f"{self._directory} cannot be reached ({type(error).__name__})") from error
        except (errors.Error, JoseError, ValueError, KeyError) as error:
            raise AuthorityError(f"{self._directory} does not answer as an ACME authority does") from error
        except CertificateError as error:
            raise AuthorityError(str(error)) from error
        except OSError as error:
            raise AuthorityError(f"{error.filename or self._account_key}: {error.strerror}") from error
        finally:
            publish({})

    def _ordered(self, hosts: Sequence[str], publish: Publish) -> tuple[bytes, bytes]:
        deadline = datetime.now() + timedelta(seconds=ORDER_S)  # noqa: DTZ005 - acme compares with local time
        acme, account_key = self._logged_in()
        key = _pem(ec.generate_private_key(ec.SECP256R1()))
        order = acme.new_order(crypto_util.make_csr(key, domains=list(hosts)))
        pending = []
        answers: dict[str, str] = {}
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue  # proved not long ago
            challenge = _http_challenge(authorization)
            response, answer = challenge.response_and_validation(account_key)
            answers[challenge.chall.encode("token")] = answer
            pending.append((challenge, response))
        publish(answers)
        for challenge, response in pending:
            acme.answer_challenge(challenge, response)
        chain = acme.poll_and_finalize(order, deadline).fullchain_pem
        return chain.encode(), key

    def _logged_in(self) -> tuple[client.ClientV2, JWK]:
        account_key = JWKRSA(key=self._key())
        network = client.ClientNetwork(account_key, user_agent="mux", timeout=NETWORK_S)
        if self._trust is not None:
            network.verify_ssl = cast(bool, str(self._trust))  # requests takes a file as well
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, network), network)
        wanted = messages.NewRegistration.from_data(email=self._email or None, terms_of_service_agreed=True)
        try:
            acme.new_account(wanted)
        except errors.ConflictError as known:
            there = messages.RegistrationResource(uri=known.location, body=messages.Registration())
            acme.query_registration(there)
        return acme, account_key

    def _key(self) -> rsa.RSAPrivateKey:
        if not self._account_key.exists():
            made = rsa.generate_private_key(public_exponent=65537, key_size=ACCOUNT_KEY_BITS)
            write_file(self._account_key, _pem(made))
        key = load_pem_private_key(read_file(self._account_key), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise CertificateError(f"{self._account_key} is no account key; restore it from a backup, or remove it")
        return key


def _http_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for challenge in authorization.body.challenges:
        if isinstance(challenge.chall, challenges.HTTP01):
            return challenge
    raise AuthorityError("the authority takes no proof over HTTP (http-01) for a name; use tls.certificates = files")


def _failed(error: errors.ValidationError) -> str:
    found = []
    for authorization in error.failed_authzrs:
        name = authorization.body.identifier.value
        found += [f"{name}: {c.error.detail}" for c in authorization.body.challenges if c.error is not None]
    return (
        f"the authority could not reach port 80 of every name, or got another answer ({_words('; '.join(found))}); "
        "let the names lead here and port 80 to listen.http"
    )


def _words(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))[:WORDS_CHARS_MAX]


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
