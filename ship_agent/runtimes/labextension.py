"""The JupyterLab extension that workspaces of the kind ``jupyter`` get, and settings that go before an image's own:
where they lie, and a copy for containers.

Owns no start: runtimes point Jupyter there with ``JUPYTER_PATH`` and ``JUPYTER_CONFIG_PATH`` (jupyter_core, "Data
files" and "Configuration files"), where Jupyter of any image looks; nothing is built or installed. Rules: it is
read-only to a container. What containers get is a copy in the ship's directory, readable by every user, since the
agent's own files may be exchanged or closed to others.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from ship_agent.protocol.messages import Project
from ship_agent.runtimes.images import remove_tree, translated

DATA = Path(__file__).with_name("jupyter")
"""A directory as ``JUPYTER_PATH`` names them: the extension lies in ``labextensions`` below it."""
SETTINGS = ("jupyter_server_config.py", "jupyter_notebook_config.py", "labconfig/page_config.json")
"""Beside it: what no setting of an image may change (the second file is read by the Notebook before version 7), and
that JupyterLab does not ask newcomers whether they want Jupyter's news.
"""
INSIDE = "/usr/local/share/mux/jupyter"
"""Where containers find their copy."""


def jupyter_path(ours: str, theirs: str) -> str:
    """The value of such a variable: ``ours`` before what a project or an image has put there itself."""
    return f"{ours}{os.pathsep}{theirs}" if theirs else ours


def known_prefix(project: Project) -> dict[str, str]:
    """The variable in which notebooks' tools look for the base path: Bokeh's apps, Dask's link to its dashboard,
    ``%tensorboard`` of the Docker Stacks. JupyterHub sets it (jupyterhub, "Environment variables"); a project may say
    otherwise.
    """
    return {"JUPYTERHUB_SERVICE_PREFIX": project.base_path} if project.kind == "jupyter" else {}


def place(directory: Path) -> Path:
    """The copy below ``directory``; made if it is not there. Blocking. Raises RuntimeFailure.

    It is named by its content: containers that were started with an earlier one keep that.
    """
    files = sorted(path for path in (DATA / "labextensions").rglob("*") if path.is_file())
    files += [DATA / name for name in SETTINGS]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(DATA)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    placed = directory / "jupyter" / digest.hexdigest()[:16]
    with translated("the JupyterLab extension"):
        if placed.is_dir():
            return placed
        placed.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=placed.parent))
        for file in files:
            copy = made / file.relative_to(DATA)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        for path in (made, *made.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            made.rename(placed)
        except OSError:
            # Another agent of this directory was faster, or nothing of it is there.
            remove_tree(made)
            if not placed.is_dir():
                raise
    return placed
