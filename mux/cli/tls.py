"""Commands about TLS: which certificates are served, and until when."""

from __future__ import annotations

import time

import typer

from mux.cli.options import JsonOption, api_of
from mux.cli.output import clock_time, say, say_json, say_painted, say_table

DAY_S = 86_400

tls = typer.Typer(name="tls", help="Certificates of the public and the organizers' name.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.add_typer(tls)


@tls.callback()
def root() -> None:
    """Certificates of the public and the organizers' name."""


@tls.command("status")
def status(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show the certificates that are served, and what is wrong with those that should be."""
    found = api_of(ctx).get("/tls")
    if as_json:
        say_json(found)
        return
    if not found["sites"]:
        say("mux serves no TLS itself; tls.certificates in the event file says where certificates come from.")
        return
    now = time.time()
    say_table(
        ["site", "host", "for", "issuer", "until (UTC)", "days left"],
        [
            [
                site["name"],
                site["host"],
                ", ".join(site["names"]) or "-",
                site["issuer"] or "-",
                clock_time(site["not_after_s"]) if site["not_after_s"] is not None else "none yet",
                f"{(site['not_after_s'] - now) / DAY_S:.1f}" if site["not_after_s"] is not None else "-",
            ]
            for site in found["sites"]
        ],
    )
    for site in found["sites"]:
        if site["fault"]:
            say_painted(f"{site['name']}: {site['fault']}", "yellow")
