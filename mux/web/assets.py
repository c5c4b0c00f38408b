"""The style sheet, the script and the icon: read once, served under names that carry their hash.

A name with the right hash may be kept for ever; a page of an earlier version still finds today's file, uncached.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from aiohttp import web

PREFIX = "/static/"
HASH_CHARS = 16
"""64 bits of SHA-256: enough to tell versions of one file apart."""
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served. ``url`` holds the hash of ``body``."""

    url: str
    etag: str
    content_type: str
    body: bytes


def _load() -> dict[str, Asset]:
    loaded = {}
    for file in (resources.files("mux.web") / "static").iterdir():
        stem, _, suffix = file.name.rpartition(".")
        if suffix not in TYPES:
            continue
        body = file.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:HASH_CHARS]
        loaded[file.name] = Asset(f"{PREFIX}{stem}.{digest}.{suffix}", digest, TYPES[suffix], body)
    return loaded


ASSETS = _load()


def asset_url(name: str) -> str:
    """Where a page finds the file, e.g. ``mux.css``. Raises KeyError for a name that is not packaged."""
    return ASSETS[name].url


async def serve(request: web.Request) -> web.Response:
    """``GET /static/<stem>.<hash>.<suffix>``, or without the hash."""
    stem, _, rest = request.match_info["name"].partition(".")
    asset = ASSETS.get(f"{stem}.{rest.rpartition('.')[2]}")
    if asset is None:
        raise web.HTTPNotFound
    current = request.path == asset.url
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if current else "no-cache",
        "ETag": f'"{asset.etag}"',
    }
    if any(tag.value in (asset.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)


def add_assets(app: web.Application) -> None:
    """Put the files under ``/static/``."""
    app.router.add_get(PREFIX + "{name}", serve)
