"""Environments with other packages than these tests' own, as an image would bring them, made from the package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docker_engine import ROOT

INSTALL_S_MAX = 600
ARGUMENTS = (
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port={port}",
    "--ServerApp.base_url={base_path}",
    "--ServerApp.root_dir={home}",
    "--ServerApp.allow_remote_access=True",
    "--ServerApp.open_browser=False",
    "--ServerApp.allow_root=True",
)
"""What a Jupyter server of such an environment is started with, as a project's command."""


def made(directory: Path, packages: tuple[str, ...]) -> Path:
    """An environment; its Python."""
    uv = shutil.which("uv", path=f"{ROOT / '.tools/venv/bin'}:{os.environ['PATH']}") or "uv"
    python = directory / "bin" / "python"
    for words in (
        ("venv", "--quiet", "--python", sys.executable, str(directory)),
        ("pip", "install", "--quiet", "--python", str(python), "ipykernel", *packages),
    ):
        subprocess.run([uv, *words], check=True, timeout=INSTALL_S_MAX)
    return python
