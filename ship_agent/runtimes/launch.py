"""What a process workspace is started with: its command, its environment, its hooks.

Builds values only; starts nothing. Rules: nothing of the agent's own environment is passed on. Token and secrets are in
the environment, never in the arguments, which every user of the machine can read. What tells a workspace who it is
(token, port, marker) cannot be overridden by the project.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ship_agent.runtimes import labextension
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec

USER = "jovyan"
"""The name that tutorials expect, as in the Jupyter images."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARKER = "MUX_WORKSPACE_DIR"
"""The variable by which processes of a workspace are found whose shim was killed."""
HOOKS = "start-notebook.d"
JUPYTER_CONFIG = Path(__file__).with_name("jupyter")
"""Settings beneath everybody's own: JupyterLab does not ask newcomers whether they want Jupyter's news."""


def environment(spec: WorkspaceSpec, directory: Path) -> dict[str, str]:
    """The whole environment of hooks and command. ``directory`` is the workspace's own, with ``home`` in it."""
    home = directory / "home"
    return {
        "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "SHELL": shutil.which("bash", path=SYSTEM_PATH) or "/bin/sh",
        "TMPDIR": str(directory / "tmp"),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        "JUPYTER_CONFIG_PATH": str(JUPYTER_CONFIG),
        "JUPYTER_DATA_DIR": str(home / ".local/share/jupyter"),
        "IPYTHONDIR": str(home / ".ipython"),
        **labextension.known_prefix(spec.project),
        **spec.project.environment,
        **spec.secrets,
        "HOME": str(home),
        "USER": USER,
        "LOGNAME": USER,
        "JUPYTER_RUNTIME_DIR": str(directory / "run"),
        **_data_path(spec),
        "JUPYTER_TOKEN": spec.token,
        "MUX_TOKEN": spec.token,
        "MUX_WORKSPACE": spec.id,
        MARKER: str(directory),
        "MUX_PROJECT": spec.project.name,
        "MUX_PORT": str(spec.port),
        "MUX_BASE_PATH": spec.project.base_path,
        **port_variables(spec.ports),
    }


def _data_path(spec: WorkspaceSpec) -> dict[str, str]:
    if spec.project.kind != "jupyter":
        return {}
    theirs = spec.project.environment.get("JUPYTER_PATH", "")
    return {"JUPYTER_PATH": labextension.jupyter_path(str(labextension.DATA), theirs)}


def port_variables(ports: Mapping[str, int]) -> dict[str, str]:
    """What tells a workspace its further ports: ``MUX_PORT_<NAME>``."""
    return {f"MUX_PORT_{variable_part(name)}": str(port) for name, port in ports.items()}


def variable_part(name: str) -> str:
    """A port's or directory's name as a variable's name has it."""
    return name.upper().replace("-", "_")


def command(spec: WorkspaceSpec, home: Path, address: str) -> list[str]:
    """The command: the project's own with its placeholders filled, or JupyterLab. Raises RuntimeFailure.

    Args:
        spec: of the workspace.
        home: its directory.
        address: where JupyterLab listens.
    """
    if spec.project.command:
        values = {"{port}": str(spec.port), "{base_path}": spec.project.base_path, "{home}": str(home)}
        return [_filled(argument, values) for argument in spec.project.command]
    if spec.project.kind != "jupyter":
        raise RuntimeFailure(
            "command_missing",
            f"the project {spec.project.name} is of kind http and has no command; give it one in the event file",
        )
    return _jupyterlab(spec, home, address)


def hooks(image: Path) -> list[tuple[str, list[str]]]:
    """The hooks of an image in the order of their names: what they are called, and how they are run.

    A file that may be executed is run as it is, a ``*.sh`` that may not by ``sh``; anything else (a README, data of a
    hook) is none.
    """
    found: list[tuple[str, list[str]]] = []
    try:
        files = sorted(path for path in (image / HOOKS).iterdir() if path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return found
    for path in files:
        if os.access(path, os.X_OK):
            found.append((path.name, [str(path)]))
        elif path.suffix == ".sh":
            found.append((path.name, ["/bin/sh", str(path)]))
    return found


def _filled(argument: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument


def _jupyterlab(spec: WorkspaceSpec, home: Path, address: str) -> list[str]:
    """JupyterLab of the agent's own Python. The token comes from JUPYTER_TOKEN (jupyter_server, IdentityProvider)."""
    arguments = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.ip={address}",
        f"--ServerApp.port={spec.port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.base_url={spec.project.base_path}",
        f"--ServerApp.root_dir={home}",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.terminals_enabled=True",
        # Whoever ends a workspace is the mux: neither a button nor a timer of Jupyter's own.
        "--ServerApp.quit_button=False",
        "--ServerApp.shutdown_no_activity_timeout=0",
        # No question about news, no look at PyPI: a workshop may have no way out.
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
    ]
    if os.geteuid() == 0:
        arguments.append("--ServerApp.allow_root=True")
    return arguments
