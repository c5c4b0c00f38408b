"""What a container is started with: the project's command, Jupyter as the image starts it, or the image's own.

Pure: from a workspace's specification and its image to the words that the engine is given.

Rules: neither token nor secrets are ever among them. What decides where Jupyter answers is said as arguments, which go
before any setting of the image's; once for Jupyter's servers of today, once for the Notebook before version 7. An image
whose own script starts Jupyter is given none, since the script may say the same: it hears by the settings file of
`ship_agent.runtimes.labextension`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.image_config import Image
from ship_agent.runtimes.jupyter_words import is_idle, jupyter_words, shell_text

LISTEN = "0.0.0.0"  # noqa: S104 - of the container; who reaches it is the network's affair
"""Where a command must listen."""
ANY_JUPYTER = (
    *("sh", "-c"),
    'command -v start-notebook.py >/dev/null && exec start-notebook.py "$@"; '
    'command -v jupyter-lab >/dev/null && exec jupyter lab "$@"; exec jupyter notebook "$@"',
    "sh",
)
"""What an image is started with that starts no server by itself: the first is docker-stacks'."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the engine is given.

    Args:
        command: None for the image's own.
        entrypoint: None for the image's own; empty for none.
    """

    command: tuple[str, ...] | None
    entrypoint: tuple[str, ...] | None = None

    @property
    def program(self) -> str:
        """What the image must have, for people; empty for its own command."""
        if self.command is None:
            return ""
        return "jupyter" if self.command[: len(ANY_JUPYTER)] == ANY_JUPYTER else self.command[0]


def container_port(spec: WorkspaceSpec) -> int:
    """The port that the command must listen on."""
    return spec.port if "host_network" in spec.project.allow else spec.project.port


def start_of(spec: WorkspaceSpec, image: Image) -> Start:
    """The project's own command with its placeholders filled; for the kind ``jupyter`` Jupyter with the mux's
    arguments, where it can be told how the image starts it; else the image's own. Raises RuntimeFailure if it has
    none.
    """
    project = spec.project
    if project.command:
        values = {"{port}": str(container_port(spec)), "{base_path}": project.base_path, "{home}": image.home}
        return Start(tuple(_filled(argument, values) for argument in project.command))
    if project.kind != "jupyter":
        if not image.command and not image.entrypoint:
            raise RuntimeFailure(
                "command_missing",
                f"neither the project {project.name} nor its image has a command; give it one in the event file",
            )
        return Start(None)
    arguments = _arguments(spec)
    # Words of a command follow those of an entry point, unless that is a text for a shell.
    alone = shell_text(image.entrypoint) is not None
    if jupyter_words(image.entrypoint) is not None:
        words = jupyter_words(image.entrypoint if alone else (*image.entrypoint, *image.command))
        return Start((*(words or ()), *arguments), ())
    if (started := jupyter_words(image.command)) is not None:
        return Start((*started, *arguments))
    if is_idle(image.entrypoint, image.command):
        return Start((*ANY_JUPYTER, *arguments))
    # A script that starts Jupyter, perhaps after other things: it hears by settings where to answer.
    return Start(None)


def _arguments(spec: WorkspaceSpec) -> tuple[str, ...]:
    settings = {
        "ip": LISTEN,
        "port": str(container_port(spec)),
        "port_retries": "0",
        "base_url": spec.project.base_path,
        "open_browser": "False",
        "allow_remote_access": "True",
        # The data plane ends TLS.
        "certfile": "",
        "keyfile": "",
        # Whoever ends a workspace is the mux: neither a button nor a timer of Jupyter's own.
        "quit_button": "False",
        "shutdown_no_activity_timeout": "0",
        # An image that only root can start says so to Jupyter in the arguments that these replace.
        **({"allow_root": "True"} if "root" in spec.project.allow else {}),
    }
    return (
        *(f"--{server}.{name}={value}" for server in ("ServerApp", "NotebookApp") for name, value in settings.items()),
        # No question about news, no look at a package index: a workshop may have no way out.
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
    )


def _filled(argument: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument
