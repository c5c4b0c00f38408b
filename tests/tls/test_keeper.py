"""What is served is kept fresh: from files that change, and from a real ACME authority."""

from __future__ import annotations

import asyncio
import shutil
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web

from mux.tls.authority import Authority
from mux.tls.context import ServerContext
from mux.tls.errors import AuthorityError
from mux.tls.keeper import ACME_RETRY_S, AcmeSource, CertificateKeeper, FileSource, Look, Site, SiteStatus
from tests import certificates
from tests.tls.pebble import Pebble, pebble

HOSTS = ("camp.test", "crew.test")


class Changes:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


# -- files -------------------------------------------------------------------------------------------------------------


async def test_files_are_taken_when_they_change_and_fit(tmp_path: Path) -> None:
    authority, changes = certificates.Authority(), Changes()
    chain, key = authority.issue("camp.test").write(tmp_path, "own")
    site = Site("public", "camp.test", chain, key)
    keeper = CertificateKeeper(tmp_path / "tls", [site], FileSource([site]), time.time, changes)
    assert keeper.statuses[0].certificate is None
    await keeper.look()
    await keeper.look()
    assert changes.count == 1
    served = keeper.path("public")
    assert stat.S_IMODE(served.stat().st_mode) == 0o600
    context = ServerContext()
    context.load(served)
    assert context.version == keeper.version("public")

    before = served.read_bytes()
    authority.issue("other.test").write(tmp_path, "own")
    await keeper.look()
    assert "not for camp.test" in keeper.statuses[0].fault
    key.unlink()
    await keeper.look()
    assert "No such file" in keeper.statuses[0].fault
    assert (served.read_bytes(), changes.count) == (before, 1)

    authority.issue("camp.test").write(tmp_path, "own")
    await keeper.look()
    assert (served.read_bytes() != before, keeper.statuses[0].fault, changes.count) == (True, "", 2)


async def test_a_restart_serves_what_is_there_before_it_looks(tmp_path: Path) -> None:
    chain, key = certificates.Authority().issue("camp.test").write(tmp_path, "own")
    site = Site("public", "camp.test", chain, key)
    first = CertificateKeeper(tmp_path / "tls", [site], FileSource([site]), time.time, Changes())
    await first.look()
    again, changes = site, Changes()
    second = CertificateKeeper(tmp_path / "tls", [again], FileSource([again]), time.time, changes)
    assert second.version("public") == first.version("public")
    await second.look()
    assert changes.count == 0


# -- what may go wrong -------------------------------------------------------------------------------------------------


class Issuing:
    """A source that gives a fresh certificate whenever it is asked, unless something is wrong with it."""

    def __init__(self) -> None:
        self.authority, self.asked = certificates.Authority(), 0
        self.taken = 0
        self.wrong: list[Exception] = []

    async def look(self, statuses: Mapping[str, SiteStatus], now: datetime) -> Look:
        self.asked += 1
        if self.wrong:
            raise self.wrong.pop()
        issued = self.authority.issue("camp.test")
        return Look({"public": (issued.chain, issued.key)}, {}, 3600.0, self._taken)

    def _taken(self) -> None:
        self.taken += 1


async def test_a_certificate_that_cannot_be_written_is_written_later_and_not_asked_for_again(tmp_path: Path) -> None:
    """As on a full disk: an authority gives few of them a week."""
    source, changes = Issuing(), Changes()
    keeper = CertificateKeeper(tmp_path / "tls", [Site("public", "camp.test")], source, time.time, changes)
    in_the_way = keeper.path("public")
    (in_the_way / "something").mkdir(parents=True)
    for _ in range(3):
        with pytest.raises(OSError, match=r"public\.pem"):
            await keeper.look()
        assert keeper.statuses[0].certificate is None
    assert (source.asked, source.taken, changes.count) == (1, 0, 0)
    shutil.rmtree(in_the_way)
    await keeper.look()
    assert keeper.statuses[0].certificate is not None
    assert (source.asked, source.taken, changes.count) == (1, 1, 1)
    await keeper.look()
    assert source.asked == 2


async def test_a_look_that_fails_is_told_and_is_not_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mux.tls.keeper.ACME_RETRY_S", (0.0,))
    monkeypatch.setattr("mux.tls.keeper.FILES_LOOK_S", 0.0)
    source, changes = Issuing(), Changes()
    source.wrong = [LookupError("a defect"), OSError(28, "No space left on device")]
    keeper = CertificateKeeper(tmp_path / "tls", [Site("public", "camp.test")], source, time.time, changes)
    running, told = asyncio.create_task(keeper.run()), []
    async with asyncio.timeout(60):
        while not changes.count:
            if keeper.statuses[0].fault not in told:
                told.append(keeper.statuses[0].fault)
            await asyncio.sleep(0)
    running.cancel()
    assert any("No space left" in fault for fault in told)
    assert any("a defect" in fault for fault in told)
    assert keeper.statuses[0].fault == ""


# -- ACME --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble") / "run") as running:
        yield running


class Port80:
    """Answers challenges where the authority asks."""

    def __init__(self) -> None:
        self.challenges: Mapping[str, str] = {}
        self.published: list[int] = []
        self.asked = 0

    async def publish(self, challenges: Mapping[str, str]) -> None:
        self.challenges = challenges
        self.published.append(len(challenges))

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        found = self.challenges.get(request.match_info["token"])
        return web.Response(text=found) if found else web.Response(status=404)


@pytest.fixture
async def port_80(acme: Pebble) -> AsyncIterator[Port80]:
    answering = Port80()
    app = web.Application()
    app.router.add_get("/.well-known/acme-challenge/{token}", answering.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", acme.http_port).start()
    yield answering
    await runner.cleanup()


class Clock:
    """Can be moved."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def kept(directory: Path, acme: Pebble, port_80: Port80, clock: Clock, changes: Changes) -> CertificateKeeper:
    sites = [Site("public", HOSTS[0]), Site("admin", HOSTS[1])]
    authority = Authority(acme.directory, "camp@example.org", directory / "account.key", acme.trust)
    source = AcmeSource(sites, authority, port_80.publish, directory / "authority")
    return CertificateKeeper(directory, sites, source, clock, changes)


async def test_an_authority_is_asked_once_and_again_when_it_is_time(
    tmp_path: Path, acme: Pebble, port_80: Port80
) -> None:
    clock, changes, directory = Clock(), Changes(), tmp_path / "tls"
    keeper = kept(directory, acme, port_80, clock, changes)
    await keeper.look()
    public, admin = keeper.statuses
    assert public.certificate is not None
    assert public.certificate == admin.certificate
    assert set(public.certificate.names) == set(HOSTS)
    assert port_80.published == [2, 0]  # and nothing is left to be answered
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}

    # A restart goes on with what is there, and with the same account.
    account = (directory / "account.key").read_bytes()
    keeper = kept(directory, acme, port_80, clock, changes)
    next_s = await keeper.look()
    assert 0 < next_s <= 6 * 3600
    assert (changes.count, len(port_80.published)) == (1, 2)

    clock.ahead_s = (public.certificate.renews_at.timestamp() - time.time()) + 60
    await keeper.look()
    renewed = keeper.statuses[0].certificate
    assert renewed is not None
    assert renewed.sha256 != public.certificate.sha256
    assert (changes.count, (directory / "account.key").read_bytes()) == (2, account)


async def test_another_authority_is_asked_at_once(tmp_path: Path, acme: Pebble, port_80: Port80) -> None:
    changes, directory = Changes(), tmp_path / "tls"
    keeper = kept(directory, acme, port_80, Clock(), changes)
    await keeper.look()
    (directory / "authority").write_text("https://staging.example.org/directory")
    await keeper.look()
    assert changes.count == 2


async def test_what_goes_wrong_is_told_and_tried_again_later(tmp_path: Path, acme: Pebble, port_80: Port80) -> None:
    async def unheard(challenges: Mapping[str, str]) -> None:
        pass

    port_80.publish = unheard  # type: ignore[method-assign]  # the proxies never learn of the challenges
    keeper = kept(tmp_path / "tls", acme, port_80, Clock(), Changes())
    assert await keeper.look() == ACME_RETRY_S[0]
    for status in keeper.statuses:
        assert status.certificate is None
        assert "could not reach port 80" in status.fault
        assert any(host in status.fault for host in HOSTS)
    assert await keeper.look() == ACME_RETRY_S[1]


async def test_an_authority_that_is_not_there_or_not_trusted_is_told(tmp_path: Path, acme: Pebble) -> None:
    for directory, trust, words in (
        ("https://127.0.0.1:9/directory", acme.trust, "cannot be reached"),
        (acme.directory, None, "cannot be reached"),
        (acme.directory.replace("/dir", "/nothing"), acme.trust, "does not answer as an ACME authority"),
    ):
        authority = Authority(directory, "", tmp_path / "account.key", trust)
        with pytest.raises(AuthorityError, match=words):
            await asyncio.to_thread(authority.certificate, HOSTS, lambda _: None)
