"""Images where no engine is: directories, which are copied to ships instead of pulled."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.pushes.gate import Gate
from tests.e2e.pushes.images import PROCESS, SERVER, Content, Images

HOOKS = "start-notebook.d"


class Directories(Images):
    """The images of one test.

    Args:
        directory: that they lie in; they are gone with it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(PROCESS, Gate(0))  # nobody goes through it
        self._directory = directory

    def name(self, tag: str) -> str:
        return str(self._directory / tag)

    async def have_base(self) -> None:
        """There is nothing below them."""

    async def make(self, tag: str, content: Content) -> None:
        files = {f"home/{name}": text for name, text in content.home.items()}
        files["home/contents.py"] = SERVER.read_text()
        files |= {f"{HOOKS}/{name}": script for name, script in content.hooks.items()}
        if content.ballast:
            files["home/ballast"] = content.ballast
        for name, text in files.items():
            file = self._directory / tag / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if name.startswith(HOOKS) else 0o644)

    async def forget(self, name: str) -> None:
        """Ships know what they have by its digest."""

    async def clear(self) -> None:
        """They are gone with their directory."""
