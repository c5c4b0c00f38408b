"""TLS of the control process: which sites there are, where their certificates come from, and who is told.

Wires `mux.tls` to the event file, the feed and the organizers' listener. Owns the challenges that are under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import structlog

from mux.config import Address, EventFile, resolved
from mux.core.feed import FeedSettings
from mux.tls.context import CertificateFileError, ServerContext
from mux.tls.keeper import AcmeSource, CertificateKeeper, FileSource, Site

log = structlog.get_logger(__name__)

PUBLIC, ADMIN = "public", "admin"
DIRECTORY = "tls"
"""Below the data directory."""


def public_certificate(file: EventFile, data: Path) -> Path | None:
    """The file that proxies serve TLS with; None where they do not."""
    served = file.tls.certificates != "none" and file.event.public_address.scheme == "https"
    return data / DIRECTORY / f"{PUBLIC}.pem" if served else None


class Https:
    """TLS on the public and on the organizers' name.

    Args:
        file: the event file.
        data: the data directory.
        clock: seconds since the epoch.
        tell: tells the proxies of changed settings, and returns when they have them.
    """

    def __init__(
        self, file: EventFile, data: Path, clock: Callable[[], float], tell: Callable[[], Awaitable[None]]
    ) -> None:
        self._tell = tell
        self._trusted = file.tls.trusted_proxies
        self._challenges: Mapping[str, str] = {}
        self._telling: set[asyncio.Task[None]] = set()
        directory = data / DIRECTORY
        sites = _sites(file)
        self.mode = file.tls.certificates
        self.organizers = ServerContext() if any(site.name == ADMIN for site in sites) else None
        self.keeper: CertificateKeeper | None = None
        if sites:
            source = FileSource(sites) if self.mode == "files" else self._acme(file, sites, directory)
            self.keeper = CertificateKeeper(directory, sites, source, clock, self._changed)
            self._load_organizers()

    def _acme(self, file: EventFile, sites: list[Site], directory: Path) -> AcmeSource:
        from mux.tls.authority import Authority  # noqa: PLC0415 - its libraries take a third of a second to load

        trust = None if file.tls.acme_trust is None else resolved(file.base, file.tls.acme_trust)
        authority = Authority(file.tls.acme_directory, file.tls.acme_email, directory / "account.key", trust)
        return AcmeSource(sites, authority, self._publish, directory / "authority")

    def completed(self, settings: FeedSettings) -> FeedSettings:
        """Settings of the feed, with what this part knows."""
        return replace(
            settings,
            certificate_sha256=self.keeper.version(PUBLIC) if self.keeper else "",
            challenges=tuple(sorted(self._challenges.items())),
            trusted_proxies=self._trusted,
        )

    async def start(self, stack: AsyncExitStack) -> None:
        """Look after the certificates until ``stack`` unwinds."""
        if self.keeper is None:
            return
        task = asyncio.create_task(self.keeper.run(), name="certificates")
        task.add_done_callback(_ended)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(stop)

    async def _publish(self, challenges: Mapping[str, str]) -> None:
        self._challenges = dict(challenges)
        await self._tell()

    def _changed(self) -> None:
        self._load_organizers()
        task = asyncio.ensure_future(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _load_organizers(self) -> None:
        if self.organizers is None or self.keeper is None:
            return
        version = self.keeper.version(ADMIN)
        if version and version != self.organizers.version:
            try:
                self.organizers.load(self.keeper.path(ADMIN))
            except CertificateFileError as error:
                log.error("the organizers' certificate cannot be loaded", error=str(error))


def _sites(file: EventFile) -> list[Site]:
    tls, event = file.tls, file.event
    if tls.certificates == "none":
        return []

    def site(name: str, address: Address, chain: Path | None, key: Path | None) -> Site:
        if tls.certificates == "acme" or chain is None or key is None:
            return Site(name, address.host)
        return Site(name, address.host, resolved(file.base, chain), resolved(file.base, key))

    sites = [site(PUBLIC, event.public_address, tls.certificate, tls.key)]
    if event.admin_address.scheme == "https":
        own = tls.admin_certificate is not None
        chain, key = (tls.admin_certificate, tls.admin_key) if own else (tls.certificate, tls.key)
        sites.append(site(ADMIN, event.admin_address, chain, key))
    return sites


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("certificates are no longer looked after", error=repr(error))
