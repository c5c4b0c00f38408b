"""The mux's secret: one root key on disk, and what is derived from it.

Owns the key file (0600, made at first start). Everything else is derived with HMAC-SHA256 under a label of its own, so
that no token needs to be stored to be checked, and nothing that a ship or a workspace knows leads to anything else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from mux.core.model import SessionHash, ShipId, UserId, WorkspaceId

ROOT_KEY_BYTES = 32
SESSION_TOKEN_BYTES = 32
"""256 random bits: a session token cannot be guessed, so a plain SHA-256 of it is safe to store."""


class KeyFileError(Exception):
    """The key file cannot be read or made; the message says what to do."""


class Keyring:
    """Derives and checks the mux's own secrets.

    Args:
        root: 32 random bytes.
    """

    def __init__(self, root: bytes) -> None:
        if len(root) != ROOT_KEY_BYTES:
            raise KeyFileError(f"the root key has {len(root)} bytes, not {ROOT_KEY_BYTES}; restore it from a backup")
        self._root = root

    @classmethod
    def open(cls, path: Path) -> Keyring:
        """Read the key file, or make it (0600) when there is none. Raises KeyFileError."""
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                temporary = path.with_name(f"{path.name}.{os.getpid()}")
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(ROOT_KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
                # The name too must survive a power cut: what is stored later is worth nothing without the key.
                directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
            return cls(path.read_bytes())
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}; mux needs to read and write it") from error

    def mac(self, label: str, *parts: str) -> bytes:
        """HMAC-SHA256 (RFC 2104) under ``label``, over ``parts`` in an encoding where no two lists are the same."""
        key = hmac.digest(self._root, label.encode(), "sha256")
        return hmac.digest(key, b"".join(len(p := part.encode()).to_bytes(4, "big") + p for part in parts), "sha256")

    def _token(self, label: str, *parts: str) -> str:
        return base64.urlsafe_b64encode(self.mac(label, *parts)).rstrip(b"=").decode()

    def workspace_token(self, workspace: WorkspaceId) -> str:
        """The secret that this workspace demands of requests."""
        return self._token("workspace", workspace)

    def store_id(self) -> str:
        """What tells this store from every other: 16 hex digits that give nothing away. Machines are marked with it."""
        return self.mac("store").hex()[:16]

    def join_token(self, ship: ShipId) -> str:
        """The secret that a ship's first key is bound with."""
        return self._token("join", ship)

    def join_token_ok(self, ship: ShipId, token: str) -> bool:
        """Whether ``token`` is the join token of ``ship``; constant time."""
        return hmac.compare_digest(self.join_token(ship).encode(), token.encode())

    def receipt(self, event: str, user: UserId, ship: ShipId, seat: int, epoch: int) -> str:
        """The mux's signed word that a seat is an attendee's: payload and MAC, readable, not forgeable."""
        payload = "|".join([event.replace("|", " "), user, ship, str(seat), str(epoch)])
        return f"{payload}|{self._token('receipt', payload)}"

    def code_hash(self, code: str) -> str:
        """Keyed hash of a generated code (64 or more random bits, normalised): safe to store, found by equality."""
        return self.mac("code", code).hex()

    def form_token(self, binding: str, purpose: str = "") -> str:
        """CSRF token of a form, bound to a value that only the browser's cookie holds."""
        return self._token("form", binding, purpose)

    def form_token_ok(self, binding: str, token: str, purpose: str = "") -> bool:
        """Whether a form's token belongs to ``binding``; constant time."""
        return hmac.compare_digest(self.form_token(binding, purpose).encode(), token.encode())


def new_session_token() -> str:
    """A fresh session token: 256 random bits, URL-safe."""
    return secrets.token_urlsafe(SESSION_TOKEN_BYTES)


def session_hash(token: str) -> SessionHash:
    """What is stored and published of a session token."""
    return SessionHash(hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest())
