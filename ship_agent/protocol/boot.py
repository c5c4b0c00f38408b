"""What a machine tells before there is an agent on it: one JSON object, put to `PATH` with the ship's join token.

Written by `mux.providers.ship_stub`, which stands alone and cannot import this; a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PATH = "/ship/boot"
WORD_BYTES_MAX = 8 * 1024
"""Of one word: 500 characters, each escaped in JSON."""


class BootWord(BaseModel):
    """How a machine becomes a ship.

    Args:
        doing: what it is doing, or why it has given up; one line for people.
        failed: it has given up: nothing more comes of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    doing: Annotated[str, Field(min_length=1, max_length=500)]
    failed: bool = False
