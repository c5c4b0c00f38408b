"""Images that are pushed: what they are made of, for how many people, and what is put into one.

Three kinds of content: `LIGHT` serves files as JupyterLab's contents API does and starts in a moment; `LAB` is the
example image, with JupyterLab; `PROCESS` is `LIGHT` without Docker.
Where images lie is `shelf`'s and `directories`'.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.pushes.gate import Gate
from tests.ship_agent.runtimes.docker_image import BASE, HOME

SERVER = Path(__file__).parents[1] / "lost" / "contents.py"
NOTES = "notes.txt"
"""A file of the image that attendees leave as it is; its text is the image's tag."""


@dataclass(frozen=True)
class Kind:
    """What images are made of, and the room that they are pushed to.

    Args:
        name: for people.
        base: the image below.
        lines: of each Dockerfile.
        command: a line for the project's table.
        attendees: who work in the room; each has a seat.
        ships: that they sit on.
        at_once: `rollout.max_unavailable`.
        start_max_s: `rollout.start_max_s`.
    """

    name: str
    base: str
    lines: tuple[str, ...] = ()
    command: str = ""
    attendees: int = 2
    ships: int = 2
    at_once: str = "1"
    start_max_s: float = 60.0


LIGHT = Kind(
    "a small server",
    BASE,
    (
        f"COPY --chown=1000:100 contents.py {HOME}/contents.py",
        f"ENV HOME={HOME} PATH=/usr/local/bin:/usr/bin:/bin HOST=0.0.0.0",
        f"WORKDIR {HOME}",
        'ENTRYPOINT ["start.sh"]',
    ),
    'command = ["python3", "-I", "-S", "-u", "{{home}}/contents.py"]',
)
LAB = Kind("JupyterLab", "mux/example")
ROOM = replace(LAB, name="JupyterLab, a room of 40", attendees=40, at_once="5%", start_max_s=180.0)
"""Some 110 MB each, and as many again of those that are proved or swapped: what a machine with 8 GB has room for."""
PROCESS = Kind("a small server, as processes", "", command=LIGHT.command)


@dataclass(frozen=True)
class Content:
    """What an image has beside its kind's.

    Args:
        home: files of the attendees', by name.
        hooks: scripts by name, for start-notebook.d.
        ballast: a text that cannot be compressed to less than half of it; may be empty.
    """

    home: Mapping[str, str]
    hooks: Mapping[str, str]
    ballast: str


class Images(ABC):
    """The images of one test.

    Args:
        kind: what they are made of.
        gate: the way to them, for everybody.
    """

    def __init__(self, kind: Kind, gate: Gate) -> None:
        self.kind = kind
        self.gate = gate

    @abstractmethod
    def name(self, tag: str) -> str:
        """As `mux push` takes it."""

    @abstractmethod
    async def have_base(self) -> None:
        """Have what every image stands on."""

    async def put(
        self,
        tag: str,
        *,
        hooks: Mapping[str, str] | None = None,
        home: Mapping[str, str] | None = None,
        layer_bytes: int = 0,
    ) -> str:
        """Make an image and lay it where ships get it; its name.

        Args:
            tag: its name, and the text of `NOTES` in it.
            hooks: scripts by name, for start-notebook.d.
            home: further files of the attendees', by name.
            layer_bytes: size of a layer that cannot be compressed, for pulls that take a while.
        """
        # Two characters a byte: half of it is air.
        ballast = secrets.token_hex(layer_bytes) if layer_bytes else ""
        await self.make(tag, Content({NOTES: tag, **(home or {})}, hooks or {}, ballast))
        return self.name(tag)

    @abstractmethod
    async def make(self, tag: str, content: Content) -> None:
        """As `put`, of what was put together."""

    @abstractmethod
    async def forget(self, name: str) -> None:
        """Take an image from where ships run, so that they have to get it."""

    @abstractmethod
    async def clear(self) -> None:
        """Take everything away again."""
