"""Options that several commands have, and what they get from the command line's context."""

from __future__ import annotations

from typing import Annotated

import typer

from mux.cli.client import Api, Place

JsonOption = Annotated[bool, typer.Option("--json", help="Print the admin API's answer as JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def place_of(ctx: typer.Context) -> Place:
    """Where mux is, as the global options say."""
    place = ctx.find_object(Place)
    return place if place is not None else Place()


def api_of(ctx: typer.Context) -> Api:
    """The admin API that the global options lead to. Raises CliError."""
    return Api(place_of(ctx))
