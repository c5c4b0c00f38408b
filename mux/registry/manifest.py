"""Manifests: what an image consists of, and for which platform.

Pure. Reads what a registry sent as hostile text: types and sizes are checked, everything has a bound. Sources: the OCI
image specification 1.1 (manifest.md, image-index.md), and Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mux.registry.errors import ImageMissingError, RegistryAnswerError

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
LAYERS_MAX = 512
"""Docker's engine takes 127."""
PLATFORMS_MAX = 256
"""Entries of an index: a dozen platforms with an attestation each are usual."""
BLOB_BYTES_MAX = 1 << 44
"""Larger than any disk; keeps sums small."""
UNPACKED_RATIO = 3.0
"""Images unpack to two to three times of what travels; registries do not tell how much exactly."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """One part of an image: ``size_bytes`` as it travels, compressed."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an image consists of.

    Args:
        digest: of what the tag names: an index if there is one, which every engine resolves for its own platform.
        image_digest: of the manifest of the platform.
        config: configuration blob.
        layers: file system, first layer first.
        platform: ``os/architecture``.
    """

    digest: str
    image_digest: str
    platform: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def compressed_bytes(self) -> int:
        """What has to travel to a ship that has nothing of it."""
        return self.bytes_beside(())

    @property
    def blobs(self) -> frozenset[Blob]:
        """All parts, each once."""
        return frozenset((self.config, *self.layers))

    def bytes_beside(self, there: Collection[Blob]) -> int:
        """What has to travel to a ship that has some parts already."""
        return sum(blob.size_bytes for blob in self.blobs.difference(there))


def is_index(document: Mapping[str, Any]) -> bool:
    """Whether a document names manifests by platform instead of layers."""
    return document.get("mediaType") in INDEX_TYPES or ("manifests" in document and "layers" not in document)


def parsed(raw: bytes) -> Mapping[str, Any]:
    """A document of a registry. Raises RegistryAnswerError."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RegistryAnswerError("the registry sent a manifest that is not JSON") from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise RegistryAnswerError("the registry sent a manifest of a kind that is not known; push the image anew")
    return document


def for_platform(index: Mapping[str, Any], platform: str) -> str:
    """The digest of a platform's manifest. Raises ImageMissingError, RegistryAnswerError."""
    entries = index.get("manifests")
    if not isinstance(entries, list) or len(entries) > PLATFORMS_MAX:
        raise RegistryAnswerError("the registry sent an index that cannot be read")
    found = []
    for entry in entries:
        known = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(known, dict):
            continue
        name = platform_name(known)
        if name == platform:
            return blob(entry).digest
        if name != "unknown/unknown":  # attestations
            found.append(name)
    offered = ", ".join(sorted(set(found)))[:200] or "none"
    raise ImageMissingError(f"the image is not there for {platform} (there is {offered}); build it for {platform}")


def platform_name(found: Mapping[str, Any]) -> str:
    """``os/architecture`` of a platform or of an image's configuration."""
    return f"{str(found.get('os', 'unknown'))[:32]}/{str(found.get('architecture', 'unknown'))[:32]}"


def blob(entry: object) -> Blob:
    """A descriptor (OCI descriptor.md). Raises RegistryAnswerError."""
    if isinstance(entry, dict):
        digest, size = entry.get("digest"), entry.get("size")
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and isinstance(size, int) and _fits(size):
            return Blob(digest, size)
    raise RegistryAnswerError("the registry sent a manifest with a part that cannot be read")


def _fits(size: int) -> bool:
    return not isinstance(size, bool) and 0 <= size <= BLOB_BYTES_MAX


def parts(document: Mapping[str, Any]) -> tuple[Blob, tuple[Blob, ...]]:
    """Configuration and layers of a manifest. Raises RegistryAnswerError."""
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > LAYERS_MAX:
        raise RegistryAnswerError("the registry sent a manifest whose layers cannot be read")
    return blob(document.get("config")), tuple(blob(layer) for layer in layers)
