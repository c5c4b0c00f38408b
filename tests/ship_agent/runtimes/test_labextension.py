"""The JupyterLab extension: built from what is in the repository, and put where Jupyter looks."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from ship_agent.runtimes import labextension

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "labextension"
BUILT = labextension.DATA / "labextensions" / "@mux" / "notebook"


def test_what_is_built_is_what_is_written() -> None:
    """`make labextension` builds it anew where this fails."""
    lines = [line.split() for line in (BUILT / "sources.sha256").read_text().splitlines()]
    recorded = {name: sha256 for sha256, name in lines}
    names = ["package.json", "package-lock.json", "tsconfig.json", "core/package.json"]
    names += [f"src/{path.name}" for path in (SOURCES / "src").iterdir()]
    assert recorded == {name: hashlib.sha256((SOURCES / name).read_bytes()).hexdigest() for name in names}


def test_what_it_loads_is_there_and_small() -> None:
    described = json.loads((BUILT / "package.json").read_text())["jupyterlab"]
    assert (BUILT / described["_build"]["load"]).is_file()
    assert sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) < 64 * 1024


def test_jupyter_finds_it_by_the_path_that_workspaces_are_given(tmp_path: Path) -> None:
    placed = labextension.place(tmp_path)
    code = "import json; from jupyter_core.paths import jupyter_path; print(json.dumps(jupyter_path('labextensions')))"
    environment = {**os.environ, "JUPYTER_PATH": labextension.jupyter_path(str(placed), "/theirs")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
    assert json.loads(run.stdout)[:2] == [str(placed / "labextensions"), "/theirs/labextensions"]


OWN = """\
c.ServerApp.ip, c.ServerApp.port, c.ServerApp.base_url = 'localhost', 7777, '/own/'
c.ServerApp.token = c.ServerApp.certfile = 'own'
"""
"""Settings of an image that do not fit."""
READ_SETTINGS = """\
import json
from jupyter_core.application import JupyterApp
app = JupyterApp(config_file_name="jupyter_server_config", raise_config_file_errors=True)
app.initialize([])
print(json.dumps(app.config))
"""
"""Jupyter Server reads them so, and takes seconds for what it imports before."""


def test_a_server_that_is_given_no_arguments_answers_where_the_mux_looks(tmp_path: Path) -> None:
    (tmp_path / ".jupyter").mkdir()
    (tmp_path / ".jupyter" / "jupyter_server_config.py").write_text(OWN)
    (tmp_path / ".jupyter" / "jupyter_server_config.json").write_text('{"IdentityProvider": {"token": "json"}}')
    environment = {
        "HOME": str(tmp_path), "PATH": os.environ["PATH"], "JUPYTER_CONFIG_PATH": str(labextension.place(tmp_path)),
        "MUX_TOKEN": "t" * 32, "MUX_ADDRESS": "0.0.0.0", "MUX_PORT": "8888", "MUX_BASE_PATH": "/camp/intro/",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", READ_SETTINGS], env=environment, cwd=tmp_path, capture_output=True, check=True, text=True
    )
    settings = json.loads(run.stdout)
    server = settings["ServerApp"]
    assert settings["IdentityProvider"]["token"] == server["token"] == "t" * 32
    assert (server["ip"], server["port"], server["base_url"]) == ("0.0.0.0", 8888, "/camp/intro/")
    assert (server["certfile"], server["allow_remote_access"], server["open_browser"]) == ("", True, False)


def test_a_copy_is_made_once_and_everybody_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        placed = labextension.place(tmp_path)
    finally:
        os.umask(before)
    assert labextension.place(tmp_path) == placed
    assert [path.name for path in placed.parent.iterdir()] == [placed.name]
    for path in (placed, *placed.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o755 if path.is_dir() else 0o644), path
    assert [name for name in labextension.SETTINGS if not (placed / name).is_file()] == []
    assert (placed / "labextensions/@mux/notebook/package.json").read_bytes() == (BUILT / "package.json").read_bytes()
