#!/opt/jupyter/bin/python
"""Starts JupyterLab with what NOTEBOOK_ARGS and the command line say.

DOCKER_STACKS_JUPYTER_CMD names another of Jupyter's programs, such as ``server``. Called by itself it runs the hooks
first, like the image's own command.
"""

import os
import shlex
import sys


def main() -> None:
    """Replaces this process."""
    command = os.environ.get("DOCKER_STACKS_JUPYTER_CMD") or "lab"
    arguments = [*shlex.split(os.environ.get("NOTEBOOK_ARGS", "")), *sys.argv[1:]]
    if os.geteuid() == 0:
        arguments.append("--ServerApp.allow_root=True")
    os.execv("/opt/jupyter/bin/jupyter", ["jupyter", command, *arguments])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
