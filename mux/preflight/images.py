"""Whether the projects' images are where the ships will get them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mux.preflight.finding import Finding, Outcome, failure, ok, shown
from mux.preflight.room import GIB
from mux.registry import Manifest, Reference, RegistryClient, RegistryError


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a registry says of one project's image.

    Args:
        project: whose.
        image: as the event file names it.
        manifest: what it consists of; None if that is not known.
        missing_parts: how many of them the registry has lost.
        fault: why nothing is known, for people.
        retryable: the fault may pass by itself.
    """

    project: str
    image: str
    manifest: Manifest | None = None
    missing_parts: int = 0
    fault: str = ""
    retryable: bool = False


async def ask(client: RegistryClient, project: str, image: str, platform: str) -> ImageFacts:
    """Ask an image's registry."""
    try:
        reference = Reference.parse(image)
        manifest = await client.manifest(reference, platform)
        missing = await client.missing_parts(reference, manifest)
    except RegistryError as error:
        return ImageFacts(project, image, fault=str(error), retryable=error.retryable)
    return ImageFacts(project, image, manifest, len(missing))


def judged_image(facts: ImageFacts) -> Finding:
    """What an image's facts mean."""
    check = f"image of {facts.project}"
    if facts.manifest is None:
        outcome = Outcome.WARNING if facts.retryable else Outcome.FAILURE
        remedy = "check again in a minute" if facts.retryable else "ships cannot start this project as it is"
        return Finding(check, outcome, facts.fault, remedy)
    if facts.missing_parts:
        text = f"the registry has lost {facts.missing_parts} of {len(facts.manifest.layers) + 1} parts of {facts.image}"
        return failure(check, text, "push it anew")
    size_gib = facts.manifest.compressed_bytes / GIB
    text = f"{facts.image} is {facts.manifest.digest[:19]}…, {shown(round(size_gib, 2))} GiB to pull"
    return ok(check, text, number=round(size_gib, 3), unit="GiB")


def total_bytes(facts: Sequence[ImageFacts]) -> int | None:
    """What all images take to travel, shared layers once; None if one is not known."""
    sizes: dict[str, int] = {}
    for each in facts:
        if each.manifest is None:
            return None
        sizes |= {blob.digest: blob.size_bytes for blob in (each.manifest.config, *each.manifest.layers)}
    return sum(sizes.values())
