"""The kinds of values that are about containers: image names, opt-ins, egress, OCI runtimes.

Owns which opt-ins exist and what each gives up. A kind reads as those of `mux.config.kinds` do. Knows nothing of how a
ship carries them out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from types import MappingProxyType

from mux.config.faults import Part, Refused, kind_of, nearest, shown
from mux.config.kinds import Kind, is_host_name

SHM_FREE_BYTES = 64 << 20
"""What /dev/shm of a container may have without an opt-in: Docker's own default."""
EGRESS_MAX = 64
"""Bound of the control protocol: each is a rule or two for every workspace."""
EGRESS_CHARS_MAX = 300
"""Bound of the control protocol: a host name of 253 characters and a port."""

OPT_INS: Mapping[str, str] = MappingProxyType(
    {
        "root": "starts as root, with the capabilities that a change of owner and user needs",
        "shm": "a /dev/shm larger than 64MiB",
        "host_network": "the ship's own network: no egress rules, no isolation from neighbours",
        "docker_socket": "the ship's Docker socket: whoever enters is root on the ship",
    }
)
"""What a project may be allowed beyond the rule, and what that gives up. Capabilities come on top, by name."""

CAPABILITIES = frozenset(
    {
        "CAP_AUDIT_CONTROL",
        "CAP_AUDIT_READ",
        "CAP_AUDIT_WRITE",
        "CAP_BLOCK_SUSPEND",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_KILL",
        "CAP_LEASE",
        "CAP_LINUX_IMMUTABLE",
        "CAP_MAC_ADMIN",
        "CAP_MAC_OVERRIDE",
        "CAP_MKNOD",
        "CAP_NET_ADMIN",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_RAW",
        "CAP_PERFMON",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYSLOG",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_CHROOT",
        "CAP_SYS_MODULE",
        "CAP_SYS_NICE",
        "CAP_SYS_PACCT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_WAKE_ALARM",
    }
)
"""Every capability of capabilities(7)."""

_REFERENCE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
IMAGE_NAME_ALLOWED = 'the name of an image, written as "host/path/name:tag" or with "@sha256:…"'
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def is_image_name(text: str) -> bool:
    """Whether a text is an image reference (distribution/reference: name, then tag, digest or both)."""
    return _REFERENCE.fullmatch(text) is not None


def allowances() -> Kind:
    """Opt-ins of a project."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > len(OPT_INS) + len(CAPABILITIES):
            raise Refused(Part(found=kind_of(value) if not isinstance(value, list) else None))
        wrong = []
        for index, part in enumerate(value):
            if not isinstance(part, str) or (part not in OPT_INS and part not in CAPABILITIES):
                near = nearest(part, [*OPT_INS, *CAPABILITIES]) if isinstance(part, str) else None
                wrong.append(Part(found=shown(part), below=f"[{index}]", nearest=f'"{near}"' if near else None))
        if wrong:
            raise Refused(*wrong)
        return tuple(dict.fromkeys(value))

    words = ", ".join(f'"{name}"' for name in OPT_INS)
    return Kind("list of texts", f'a list of {words}, and capabilities by name such as "CAP_SYS_PTRACE"', read)


def egress() -> Kind:
    """Where a workspace may connect to: a word, or a list of destinations."""

    def read(value: object) -> str | tuple[str, ...]:
        if isinstance(value, str):
            if value in ("open", "none"):
                return value
            near = nearest(value, ("open", "none"))
            raise Refused(Part(nearest=f'"{near}"' if near else f"[{shown(value)}]" if _destination(value) else None))
        if not isinstance(value, list) or not value or len(value) > EGRESS_MAX:
            raise Refused(Part(found=kind_of(value) if not isinstance(value, list) else None))
        wrong = [
            Part(found=shown(part), below=f"[{index}]")
            for index, part in enumerate(value)
            if not isinstance(part, str) or not _destination(part)
        ]
        if wrong:
            raise Refused(*wrong)
        return tuple(dict.fromkeys(value))

    allowed = (
        f'"open", "none", or a list of 1 to {EGRESS_MAX} of host:port and IPv4 networks, '
        'written as ["example.org:443", "192.0.2.0/24"]'
    )
    return Kind("word or list", allowed, read)


def _destination(text: str) -> bool:
    if len(text) > EGRESS_CHARS_MAX:
        return False
    host, separator, port = text.rpartition(":")
    if separator:
        is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535
        return is_port and (_is_network(host) or is_host_name(host))
    return _is_network(text)


def _is_network(text: str) -> bool:
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return True


def oci_runtime() -> Kind:
    """Name of an OCI runtime, as Docker's engine knows it."""

    def read(value: object) -> str:
        if not isinstance(value, str) or (value and not _RUNTIME.fullmatch(value)):
            raise Refused
        return value

    return Kind(
        "text", "a name of 1 to 63 letters, digits, dots, hyphens and underscores; empty for Docker's own", read
    )
