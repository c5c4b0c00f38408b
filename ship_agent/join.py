"""Who this ship is: its join information and its agent key, both files in the ship's directory.

Owns the format of ``join.json`` and of the key file. Knows nothing of the link or of workspaces.

``join.json`` is one JSON object, written by whoever makes the machine (provider or user-data) before the agent starts:

    version      1
    ship         id of the ship
    event        name of the event
    control_url  ``wss://host:port/control``: what to dial
    ca_pem       PEM of the only certificate authority that the control endpoint may chain to
    join_token   secret that the first agent key is bound with
    runtime      ``process`` or ``docker``
    boot         identity of this boot of the machine: fresh at each launch and start, kept at an agent's restart
    address      IPv4 address of this machine on which workspaces answer; may be missing: 127.0.0.1. The runtime
                 ``process`` takes one of loopback alone
    metadata_url where the machine hears what its owner has announced for it; may be missing: nothing is asked

``launch.json`` is what a machine was launched with: the same without boot and address, which only the machine knows.
`join_of_boot` makes the one of the other at each boot.

Rules: the file holds a secret, so nobody but its owner may read it; it is replaced whole, never edited; an error names
the file and the field, never a value.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

JOIN_VERSION = 1
LAUNCH_VERSION = 1
JOIN_BYTES_MAX = 64 * 1024
"""Bound of the file: a CA certificate and a few short strings fit many times over."""
KEY_BYTES_MAX = 4096
"""Bound of the key file: an Ed25519 key in PEM has 119 bytes."""

LOOPBACK = "127.0.0.1"
"""Where workspaces answer on a ship that shares its machine with the mux."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RUNTIME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_METADATA_URL = re.compile(r"(http://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?)?")


class JoinError(Exception):
    """The join information or the agent key cannot be used; one line that says what to do."""


@dataclass(frozen=True)
class Join:
    """What an agent needs to become a ship; the fields are those of ``join.json``."""

    ship: str
    event: str
    control_url: str
    ca_pem: str
    join_token: str = field(repr=False)
    runtime: str
    boot: str
    address: str = LOOPBACK
    metadata_url: str = ""


_FIELDS = ("ship", "event", "control_url", "ca_pem", "join_token", "runtime", "boot")


def read_join(path: Path) -> Join:
    """Read and check ``join.json``. Raises JoinError."""
    raw = _read_object(path)
    if raw.get("version") != JOIN_VERSION:
        raise JoinError(f"{path}: not join information of version {JOIN_VERSION}; use an agent of the mux's version")
    return _checked(path, raw)


def join_of_boot(path: Path, boot: str, address: Callable[[str], str]) -> Join:
    """Join information of this boot, from what the machine was launched with. Raises JoinError.

    Args:
        path: of ``launch.json``.
        boot: identity of this boot.
        address: gives this machine's address for the control address that it is to dial.
    """
    raw = _read_object(path)
    if raw.get("launch_version") != LAUNCH_VERSION:
        raise JoinError(f"{path}: not of version {LAUNCH_VERSION}; use an agent of the mux's version")
    join = _checked(path, {**raw, "boot": boot})
    return replace(join, address=_address(path, address(join.control_url)))


def _checked(path: Path, raw: Mapping[str, object]) -> Join:
    values: dict[str, str] = {}
    for name in _FIELDS:
        value = raw.get(name)
        if not isinstance(value, str) or not value:
            raise JoinError(f"{path}: {name} is missing or not a string; write the join information again")
        values[name] = value
    metadata_url = raw.get("metadata_url", "")
    if not isinstance(metadata_url, str) or not _METADATA_URL.fullmatch(metadata_url):
        raise JoinError(f"{path}: metadata_url is not http://host; write the join information again")
    join = Join(**values, address=_address(path, raw.get("address", LOOPBACK)), metadata_url=metadata_url)
    if not _ID.fullmatch(join.ship) or not _ID.fullmatch(join.boot) or not _RUNTIME.fullmatch(join.runtime):
        raise JoinError(f"{path}: ship, boot or runtime is not a valid name; write the join information again")
    if not _is_control_url(join.control_url):
        raise JoinError(f"{path}: control_url is not wss://host:port/path; write the join information again")
    return join


def write_join(path: Path, join: Join) -> None:
    """Write ``join.json`` with mode 0600, whole or not at all. Raises JoinError."""
    raw: dict[str, object] = {"version": JOIN_VERSION, **{name: getattr(join, name) for name in _FIELDS}}
    raw |= {"address": join.address, "metadata_url": join.metadata_url}
    _write_private(path, json.dumps(raw, indent=1).encode())


def agent_key(path: Path) -> Ed25519PrivateKey:
    """The agent's own key, made at first use (PKCS #8 PEM, mode 0600). Raises JoinError.

    The mux binds the first key that comes with the ship's join token, so a lost key file means a new ship.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        _write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        loaded = load_pem_private_key(_read_private(path, KEY_BYTES_MAX), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise JoinError(f"{path}: not a private key in PEM; the ship must be launched anew") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise JoinError(f"{path}: not an Ed25519 key; the ship must be launched anew")
    return loaded


def _read_object(path: Path) -> Mapping[str, object]:
    try:
        raw = json.loads(_read_private(path, JOIN_BYTES_MAX))
    except ValueError:
        # Not chained: a JSON error carries the whole document, and with it the join token.
        raise JoinError(f"{path}: not JSON; write the join information again") from None
    if not isinstance(raw, dict):
        raise JoinError(f"{path}: not a JSON object; write the join information again")
    return raw


def _address(path: Path, value: object) -> str:
    try:
        address = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise JoinError(f"{path}: address is not an IPv4 address; write the join information again") from None
    if address.is_unspecified or address.is_multicast:
        raise JoinError(f"{path}: address is not one of a machine; write the join information again")
    return str(address)


def _is_control_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme == "wss" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False


def _read_private(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise JoinError(f"{path}: mode {mode:04o} lets others in; run `chmod 600 {path}`")
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise JoinError(f"{path}: {error.strerror}; the agent needs to read it") from error
    if len(content) > bytes_max:
        raise JoinError(f"{path}: more than {bytes_max} bytes; write it again")
    return content


def _write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
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
    except OSError as error:
        raise JoinError(f"{path}: {error.strerror}; the agent needs to write it") from error
