"""What stands before the data plane: TLS, load balancers that end it, and the listener for browsers without it.

Owns which certificate is served, which proxies in front are believed, and what is answered over plain HTTP: ACME's
challenges (RFC 8555 section 8.3) and the way to the public address. Rules: a challenge comes from the feed, never from
a workspace; nothing else is ever served without TLS where the public address has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import structlog

from mux.core.feed import FeedSettings
from mux.core.forwarded import Network, address_of, client_address, is_trusted, networks
from mux.proxy.refusal import Refusal
from mux.proxy.request import RequestHead
from mux.proxy.rewrite import Peer
from mux.proxy.routing import Site
from mux.tls.context import CertificateFileError, ServerContext

log = structlog.get_logger(__name__)

CHALLENGE_PATH = b"/.well-known/acme-challenge/"


class Front:
    """What one proxy process shows to the network.

    Args:
        certificate: file with key and chain for the public listener; None where it speaks no TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self._certificate = certificate
        self._site: Site | None = None
        self._trusted: tuple[Network, ...] = ()
        self._challenges: dict[bytes, str] = {}
        self.tls = ServerContext() if certificate is not None else None
        if certificate is not None and certificate.exists():
            self._load()

    def configure(self, settings: FeedSettings) -> None:
        """Put in force what the feed says."""
        self._site = Site.of(settings.public_origin)
        self._trusted = networks(settings.trusted_proxies)
        self._challenges = {token.encode(): answer for token, answer in settings.challenges}
        if self.tls is not None and settings.certificate_sha256 not in ("", self.tls.version):
            self._load()

    def _load(self) -> None:
        if self.tls is None or self._certificate is None:
            return
        try:
            self.tls.load(self._certificate)
        except CertificateFileError as error:
            log.error("the certificate cannot be loaded; the one before stays in force", error=str(error))
        else:
            log.info("certificate in force", sha256=self.tls.version)

    @property
    def lists(self) -> bool:
        """Whether any proxy in front is believed."""
        return bool(self._trusted)

    def trusts(self, direct: Peer) -> bool:
        """Whether a connection comes from a proxy that is believed."""
        return bool(self._trusted) and is_trusted(address_of(direct.ip.decode()), self._trusted)

    def peer(self, direct: Peer, request: RequestHead) -> Peer:
        """Who sent a request.

        Args:
            direct: who the connection comes from.
            request: believed only if that is a proxy that is trusted.

        Raises:
            Refusal: the browser spoke plain HTTP to the proxy in front; the answer leads it to the public address.
        """
        if not self._trusted:
            return direct
        address = direct.ip.decode()
        if not is_trusted(address_of(address), self._trusted):
            return direct
        protocols = b",".join(request.values(b"x-forwarded-proto")).split(b",")
        if self._site is not None and self._site.scheme == b"https" and protocols[-1].strip().lower() == b"http":
            self._lead(request, self._site)
        values = [value.decode("latin-1") for value in request.values(b"x-forwarded-for")]
        return Peer.of(client_address(address, values, self._trusted))

    def answer_plain(self, request: RequestHead) -> NoReturn:
        """What is answered without TLS. Raises Refusal, always."""
        if request.path.startswith(CHALLENGE_PATH):
            answer = self._challenges.get(request.path.removeprefix(CHALLENGE_PATH))
            if answer is None:
                raise Refusal(404, "no_challenge", "No such challenge is under way here.")
            raise Refusal(200, "acme_challenge", answer, plain=True)
        if self._site is None:
            raise Refusal(503, "starting", "This event is starting.", reload_s=3)
        self._lead(request, self._site)

    def _lead(self, request: RequestHead, site: Site) -> NoReturn:
        origin = site.origin.decode()
        if _name(request.host) != site.hostname:
            raise Refusal(421, "wrong_host", f"This event is at {origin}/ and at no other address.", link=f"{origin}/")
        if request.method not in (b"GET", b"HEAD") or not request.target.startswith(b"/"):
            raise Refusal(403, "https_only", f"This event is at {origin}/, over HTTPS only.", link=f"{origin}/")
        location = origin + request.target.decode("latin-1")
        raise Refusal(
            308, "to_https", f"This event is at {origin}/.", headers=(("Location", location),), link=f"{origin}/"
        )


def _name(host: bytes) -> bytes:
    """A Host without its port."""
    return host if host.endswith(b"]") or b":" not in host else host.rpartition(b":")[0]
