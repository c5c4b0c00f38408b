"""An archive of Debian packages for machines that install some: what this machine's own apt fetches, served to them."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.parts import require

FETCH_S_MAX = 300


def fetch(directory: Path, packages: Sequence[str]) -> None:
    """Put packages and an index of them into a directory that is not there yet."""
    require("apt-get", "on Debian")
    require("dpkg-deb", "on Debian")
    directory.mkdir()
    words = ["apt-get", "-q", "download", *packages]
    if _run(words, directory).returncode != 0:
        # What it knows of the archive may be of another day.
        _run(["apt-get", "-q", "update"], directory)
        done = _run(words, directory)
        assert done.returncode == 0, done.stderr[-2000:]
    entries = []
    for path in sorted(directory.glob("*.deb")):
        content = path.read_bytes()
        fields = _run(["dpkg-deb", "--field", path.name], directory).stdout.strip()
        sha256 = hashlib.sha256(content).hexdigest()
        entries.append(f"{fields}\nFilename: ./{path.name}\nSize: {len(content)}\nSHA256: {sha256}\n")
    (directory / "Packages").write_text("\n".join(entries))


def _run(words: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False)


@asynccontextmanager
async def served(directory: Path, host: str) -> AsyncIterator[str]:
    """Serve it on a free port of an address; yields the line of ``sources.list`` that names it."""
    app = web.Application()
    app.router.add_static("/", directory)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"deb [trusted=yes] http://{host}:{port}/ ./\n"
    finally:
        await runner.cleanup()
