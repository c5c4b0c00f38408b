"""Image references: which registry, which repository, which tag or digest.

Pure. The grammar is distribution/reference's; a name without a host is Docker Hub's, as every engine reads it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from mux.registry.errors import BadReferenceError

HUB = "docker.io"
"""What a name without a host means."""
HUB_HOST = "registry-1.docker.io"
"""Where Docker Hub answers."""
NAME_CHARS_MAX = 255
"""Bound of distribution/reference for host and repository together."""
TAG_DEFAULT = "latest"

_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


_LOGIN = re.compile(r"(?:[a-z]+://)?[^/]*:.*@(?!sha256:)")
_BEFORE_AT = re.compile(r".*@(?!sha256:)", re.DOTALL)


def has_login(text: str) -> bool:
    """Whether a name of an image begins with ``user:password@``, as addresses may and names of images may not."""
    return _LOGIN.match(text) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """One image of one registry.

    Args:
        registry: host, with port if one was given; ``docker.io`` for Docker Hub.
        repository: path below it.
        tag: name of a version; empty if only a digest was given.
        digest: ``sha256:…``; empty for none. Goes before the tag.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """From ``host/path/name:tag@sha256:…``. Raises BadReferenceError."""
        name, at, digest = text.partition("@")
        head, slash, last = name.rpartition("/")
        last, colon, tag = last.partition(":")
        registry, repository = _split(head + slash + last)
        fits = _HOST.fullmatch(registry) and _REPOSITORY.fullmatch(repository)
        if (
            not fits
            or len(registry) + 1 + len(repository) > NAME_CHARS_MAX
            or (at and not _DIGEST.fullmatch(digest))
            or (colon and not _TAG.fullmatch(tag))
        ):
            shown = _BEFORE_AT.sub("…@", text)[:80]  # it may be a login
            raise BadReferenceError(
                f'"{shown}" is not the name of an image; write it as host/path/name:tag or with @sha256:…'
            )
        return cls(registry, repository, tag or ("" if digest else TAG_DEFAULT), digest)

    @property
    def host(self) -> str:
        """Host and port to connect to."""
        return HUB_HOST if self.registry == HUB else self.registry

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine."""
        name = self.host.rpartition(":")[0] if re.search(r":[0-9]+\Z", self.host) else self.host
        try:
            return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def wanted(self) -> str:
        """What a manifest is asked for by: the digest if there is one."""
        return self.digest or self.tag

    def pinned(self, digest: str) -> Reference:
        """The same image by digest."""
        return Reference(self.registry, self.repository, self.tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def _split(name: str) -> tuple[str, str]:
    """Registry and repository: a first part with a dot, a colon, or ``localhost`` is a host."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        if first in (HUB, "index.docker.io", HUB_HOST):
            return HUB, rest if "/" in rest else f"library/{rest}"
        return first, rest
    return HUB, name if slash else f"library/{name}"
