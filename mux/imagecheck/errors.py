"""Why an image cannot even be tried."""

from __future__ import annotations

from collections.abc import Sequence


class ImageCheckError(Exception):
    """There is nothing to check: no such directory, no engine, no image.

    Args:
        message: one line for people: what is so, and what to do next.
        detail: further lines, such as the end of a build.
    """

    def __init__(self, message: str, detail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.detail = tuple(detail)
