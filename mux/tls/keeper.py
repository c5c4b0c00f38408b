"""Keeps the certificates that are served fresh, for as long as mux runs.

Owns ``<data>/tls/``: one file of key and chain for each site, as listeners load it. It comes from the organizers' own
files, which are looked at again and again, or from an ACME authority, which is asked when a third of the time is left.
Rules: what is served is replaced only by what fits; whatever goes wrong is kept to be shown, and tried again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from mux.tls.certificate import Certificate, CertificateError, fitting_pair, read_file, write_file
from mux.tls.errors import AuthorityError

if TYPE_CHECKING:
    from mux.tls.authority import Authority

log = structlog.get_logger(__name__)

FILES_LOOK_S = 5.0
"""How often the organizers' files are looked at: two small reads."""
ACME_LOOK_S = 6 * 3600.0
"""Longest time between two looks at the clock."""
ACME_RETRY_S = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 6 * 3600.0)
"""Pauses after failures in a row. Authorities let a name fail five times an hour."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Site:
    """One name that is served over TLS.

    Args:
        name: ``public`` or ``admin``; also of its file.
        host: host name that browsers use.
        chain, key: the organizers' own files; None with ACME.
    """

    name: str
    host: str
    chain: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """How one site stands.

    Args:
        site: which.
        certificate: what is served; None for nothing.
        fault: what is wrong with what should be served instead, for people; empty for nothing.
    """

    site: Site
    certificate: Certificate | None
    fault: str = ""


class Source(Protocol):
    """Where key and chain come from."""

    async def look(self, statuses: Mapping[str, SiteStatus], now: datetime) -> Look:
        """One look."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What a source found.

    Args:
        pairs: chain and key by site, as far as they should be served from now on.
        faults: what is wrong by site.
        next_s: seconds until the next look.
        taken: called once the pairs are on the disk. May raise OSError: then it is called again later.
    """

    pairs: Mapping[str, tuple[bytes, bytes]]
    faults: Mapping[str, str]
    next_s: float
    taken: Callable[[], None] = lambda: None


class FileSource:
    """The organizers' own files."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = tuple(sites)

    async def look(self, statuses: Mapping[str, SiteStatus], now: datetime) -> Look:  # noqa: ARG002 - Source's signature
        """Read them."""
        pairs, faults = {}, {}
        for site in self._sites:
            try:
                if site.chain is not None and site.key is not None:
                    pairs[site.name] = await asyncio.to_thread(_read_pair, site.chain, site.key)
            except CertificateError as error:
                faults[site.name] = str(error)
        return Look(pairs, faults, FILES_LOOK_S)


def _read_pair(chain: Path, key: Path) -> tuple[bytes, bytes]:
    return read_file(chain), read_file(key)


class AcmeSource:
    """An authority; one certificate for all sites.

    Args:
        sites: whose names it is for.
        authority: asked in a thread.
        publish: makes challenges known to the proxies; returns when they answer them.
        origin: file that says which authority the certificates are from: another one is asked at once.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        authority: Authority,
        publish: Callable[[Mapping[str, str]], Awaitable[None]],
        origin: Path,
    ) -> None:
        self._sites = tuple(sites)
        self._hosts = list(dict.fromkeys(site.host for site in sites))
        self._authority = authority
        self._publish = publish
        self._origin = origin
        self._failures = 0

    async def look(self, statuses: Mapping[str, SiteStatus], now: datetime) -> Look:
        """Order a certificate if it is time."""
        left_s = min(
            (status.certificate.renews_at - now).total_seconds() if status.certificate else 0.0
            for status in statuses.values()
        )
        if left_s > 0 and _text(self._origin) == self._authority.directory:
            return Look({}, {}, min(left_s, ACME_LOOK_S))
        loop = asyncio.get_running_loop()

        def publish(challenges: Mapping[str, str]) -> None:
            asyncio.run_coroutine_threadsafe(_awaited(self._publish(challenges)), loop).result()

        try:
            pair = await _in_thread(lambda: self._authority.certificate(self._hosts, publish))
        except AuthorityError as error:
            pause_s = ACME_RETRY_S[min(self._failures, len(ACME_RETRY_S) - 1)]
            self._failures += 1
            return Look({}, {site.name: str(error) for site in self._sites}, pause_s)
        self._failures = 0

        def taken() -> None:
            write_file(self._origin, self._authority.directory.encode())

        return Look({site.name: pair for site in self._sites}, {}, ACME_LOOK_S, taken)


class CertificateKeeper:
    """Keeps the files of a directory fresh.

    Args:
        directory: ``<data>/tls``.
        sites: what is served.
        source: where it comes from.
        clock: seconds since the epoch.
        changed: called when a file has changed.
    """

    def __init__(
        self,
        directory: Path,
        sites: Sequence[Site],
        source: Source,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._source = source
        self._clock = clock
        self._changed = changed
        self._versions: dict[str, str] = {}
        self._unwritten: Look | None = None
        self._statuses = {site.name: self._found(site) for site in sites}

    @property
    def statuses(self) -> tuple[SiteStatus, ...]:
        """How the sites stand."""
        return tuple(self._statuses.values())

    def path(self, site: str) -> Path:
        """The file that listeners load."""
        return self._directory / f"{site}.pem"

    def version(self, site: str) -> str:
        """SHA-256 of that file, as `ServerContext.version`; empty for none."""
        return self._versions.get(site, "")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                pause_s = await self.look()
            except OSError as error:
                self._complain_of_all(f"certificates cannot be kept in {self._directory}: {error.strerror or error}")
                pause_s = FILES_LOOK_S
            except Exception as error:
                # A defect must not end the looks: what is served runs out months later, when nobody thinks of it.
                log.exception("a look at the certificates failed")
                self._complain_of_all(f"a defect, which is in mux's log ({type(error).__name__})")
                pause_s = ACME_RETRY_S[0]
            await asyncio.sleep(pause_s)

    async def look(self) -> float:
        """One look; seconds until the next. Raises OSError when the directory cannot be written.

        What could not be written is what the next look begins with: an authority gives few certificates a week.
        """
        found = self._unwritten or await self._source.look(self._statuses, self._now())
        self._unwritten = found if found.pairs else None
        changed = False
        for name, status in list(self._statuses.items()):
            if name in found.pairs:
                changed = self._take(status, *found.pairs[name]) or changed
            elif fault := found.faults.get(name):
                self._complain(status, fault)
        if changed:
            self._changed()
        if found.pairs:
            found.taken()
        self._unwritten = None
        return found.next_s

    def _take(self, status: SiteStatus, chain: bytes, key: bytes) -> bool:
        site = status.site
        try:
            certificate, content = fitting_pair(chain, key, [site.host], self._now())
        except CertificateError as error:
            self._complain(status, str(error))
            return False
        version = hashlib.sha256(content).hexdigest()
        new = version != self._versions.get(site.name)
        if new:
            write_file(self.path(site.name), content)
        self._statuses[site.name] = SiteStatus(site, certificate)
        if not new:
            return False
        self._versions[site.name] = version
        log.info("certificate taken", site=site.name, host=site.host, until=certificate.not_after.isoformat())
        return True

    def _complain_of_all(self, fault: str) -> None:
        for status in list(self._statuses.values()):
            self._complain(status, fault)

    def _complain(self, status: SiteStatus, fault: str) -> None:
        if fault != status.fault:
            log.error("certificate not taken; the one before stays", site=status.site.name, fault=fault)
        self._statuses[status.site.name] = SiteStatus(status.site, status.certificate, fault)

    def _found(self, site: Site) -> SiteStatus:
        """What an earlier run has left."""
        try:
            content = read_file(self.path(site.name))
            certificate, _ = fitting_pair(content, content, [site.host], self._now())
        except CertificateError:
            return SiteStatus(site, None, "there is no certificate yet")
        self._versions[site.name] = hashlib.sha256(content).hexdigest()
        return SiteStatus(site, certificate)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _text(path: Path) -> str:
    try:
        return read_file(path).decode("utf-8", "replace")
    except CertificateError:
        return ""


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run in a thread that does not hold up the end of the process: an order may take minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # handed to whoever waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="acme", daemon=True).start()
    return await done
