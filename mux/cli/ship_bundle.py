"""``mux ship bundle``: the ship agent as one file, for baking a machine image. Needs no daemon."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mux.cli.errors import CliError
from mux.cli.fleet import ship
from mux.cli.output import say
from mux.providers.agent_bundle import BundleError, agent_bundle


def register() -> None:
    """Put this command into the tree."""
    ship.command("bundle")(ship_bundle)


def ship_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it, e.g. agent.tar.gz.")],
) -> None:
    """Write the ship agent, with all that it needs, as one file for a machine image."""
    try:
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".bundle.") as directory:
            bundle = agent_bundle(Path(directory))
            shutil.move(bundle.path, file)
    except BundleError as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}; name a file that can be written") from error
    say(f"{file}: sha256 {bundle.sha256}")
