"""What a TLS listener serves with: one context for its whole life, whose certificate can be exchanged under it.

Standard library alone: proxies use it. Rules: each handshake gets the certificate that is in force when it begins; a
connection that stands keeps its own; a file that cannot be loaded changes nothing; TLS 1.2 or later, no renegotiation.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

FILE_BYTES_MAX = 256 * 1024
"""A key with its chain: under 10 KB."""


class CertificateFileError(Exception):
    """A file of key and chain cannot be loaded; one line for people."""


class ServerContext:
    """TLS for one listener. Without a certificate every handshake is refused.

    Attributes:
        listener: what the listener is given; the same for ever.
        version: SHA-256 of the file in force, in hexadecimal digits; empty for none.
    """

    def __init__(self) -> None:
        self.version = ""
        self._current: ssl.SSLContext | None = None
        self.listener = _context()
        # Called in each handshake, also without a server name (OpenSSL, SSL_CTX_set_tlsext_servername_callback).
        self.listener.sni_callback = self._choose

    def load(self, path: Path) -> None:
        """Put a file of private key and chain (PEM) in force for handshakes from now on.

        Raises:
            CertificateFileError: it cannot be read or does not fit together; what was in force stays.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
            context = _context()
            context.load_cert_chain(path, password=_no_password)
        except OSError as error:  # ssl.SSLError is one
            raise CertificateFileError(f"{path}: {error.strerror or 'key and certificate do not fit'}") from error
        except ValueError as error:
            raise CertificateFileError(f"{path}: the key has a password; mux needs one without") from error
        self._current = context
        self.version = hashlib.sha256(raw).hexdigest()

    def _choose(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:  # noqa: ARG002 - ssl's signature
        if self._current is None:
            return ssl.AlertDescription.ALERT_DESCRIPTION_CERTIFICATE_UNOBTAINABLE
        handshake.context = self._current
        return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise ValueError("encrypted key")
