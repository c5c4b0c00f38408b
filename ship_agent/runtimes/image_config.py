"""What an image says of itself (Docker Engine API, ``GET /images/{name}/json``), as far as workspaces need it.

Pure. Owns where in a container an attendee's files are. Rules: they are where its Jupyter starts, since that is where
people save: the working directory, if it lies outside ``HOME``. What cannot be a home is refused before anybody waits.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.runtimes.jupyter_words import INITS, is_idle, jupyter_words

ROOT_USERS = frozenset({"", "0", "root"})
HOME_DEFAULT = "/home/jovyan"
SYSTEM_PLACES = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/run", "/sbin", "/sys", "/tmp"}  # noqa: S108
    | {"/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/var"}
)
"""What cannot be an attendee's home: mounting files there would hide the image."""
CONTENT_LABEL = "mux.content"
"""Label of an image whose attendees' first files lie elsewhere than in the home."""
READ_ONLY_LABEL = "mux.read-only"
"""Label of an image that works with a read-only root."""
VOLUMES_MAX = 32
"""More volumes of an image than that are not looked at."""


@dataclass(frozen=True, slots=True)
class Image:
    """What matters of an image.

    Args:
        id: the image's id, ``sha256:…``.
        user: whom it starts as, as the image says it.
        home: where attendees' files are.
        content: what they are at first.
        command: its own command.
        entrypoint: its own entry point.
        workdir: its own working directory.
        read_only: it says that it works with a read-only root.
        jupyter_path: where its Jupyter looks for data beside the usual places.
        jupyter_config_path: the same for settings.
        home_variable: its ``HOME``; empty if the engine finds it by the user's name.
        volumes: directories below the home for which it wants volumes.
    """

    id: str
    user: str
    home: str
    content: str
    command: tuple[str, ...]
    entrypoint: tuple[str, ...]
    workdir: str
    read_only: bool
    jupyter_path: str = ""
    jupyter_config_path: str = ""
    home_variable: str = HOME_DEFAULT
    volumes: tuple[str, ...] = ()

    @property
    def starts_as_root(self) -> bool:
        """Whether it starts as root unless told otherwise."""
        return self.user.partition(":")[0] in ROOT_USERS

    @property
    def has_init(self) -> bool:
        """Whether its entry point is an init that reaps orphans."""
        return bool(self.entrypoint) and posixpath.basename(self.entrypoint[0]) in INITS


def image_of(inspected: Mapping[str, Any], kept_home: str = "", project: Project | None = None) -> Image:
    """What matters of what the engine says.

    Args:
        inspected: the engine's words.
        kept_home: where a workspace of this image has its files since it was begun, by what the image meant then.
        project: whose image it is. What an image of a notebooks' project starts by itself is its Jupyter, by any name.

    Raises:
        RuntimeFailure: it cannot be a workspace's image.
    """
    config = inspected.get("Config") or {}
    variables = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    labels = config.get("Labels") or {}
    command, entrypoint = tuple(config.get("Cmd") or ()), tuple(config.get("Entrypoint") or ())
    workdir = posixpath.normpath(config["WorkingDir"]) if config.get("WorkingDir") else ""
    user = str(config.get("User") or "")
    own = variables.get("HOME") or ""
    home = posixpath.normpath(own or (workdir if _can_be_home(workdir) else "") or HOME_DEFAULT)
    starts_jupyter = jupyter_words(command) is not None or jupyter_words(entrypoint) is not None
    if project is not None and project.kind == "jupyter" and not project.command:
        starts_jupyter |= not is_idle(entrypoint, command)
    if kept_home:
        home = kept_home
    elif CONTENT_LABEL not in labels and starts_jupyter and _can_be_home(workdir) and not within(workdir, home):
        home = workdir
    content = posixpath.normpath(labels.get(CONTENT_LABEL) or home)
    if not _can_be_home(home):
        raise RuntimeFailure(
            "image_invalid", f"the image's HOME, {home[:100]}, cannot be an attendee's home; set another one in it"
        )
    if not _can_be_home(content):
        raise RuntimeFailure(
            "image_invalid",
            f"the image's label {CONTENT_LABEL}, {content[:100]}, names no directory of files; set another one",
        )
    return Image(
        id=str(inspected["Id"]),
        user=user,
        home=home,
        content=content,
        command=command,
        entrypoint=entrypoint,
        workdir=workdir,
        read_only=labels.get(READ_ONLY_LABEL) == "true",
        jupyter_path=variables.get("JUPYTER_PATH", ""),
        jupyter_config_path=variables.get("JUPYTER_CONFIG_PATH", ""),
        home_variable=own or ("" if home == workdir and _has_name(user) else home),
        volumes=_below(home, config.get("Volumes") or ()),
    )


def _has_name(user: str) -> bool:
    """Whether it is somebody of the image's ``/etc/passwd``, whose home programs may have been installed to."""
    name = user.partition(":")[0]
    return name not in ROOT_USERS and not name.isdecimal()


def _below(home: str, volumes: Iterable[str]) -> tuple[str, ...]:
    places = {posixpath.normpath(volume) for volume in volumes}
    return tuple(sorted(place for place in places if place != home and within(place, home))[:VOLUMES_MAX])


def within(path: str, place: str) -> bool:
    """Whether an absolute path is a place, or lies below it."""
    return path == place or path.startswith(f"{place.rstrip('/')}/")


def _can_be_home(path: str) -> bool:
    return path.startswith("/") and not path.startswith("//") and path not in SYSTEM_PLACES and ":" not in path
