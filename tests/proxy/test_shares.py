"""Nobody takes the connections that others need: shares of an attendee, and of an address that has not logged in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mux.core.model import UserId
from mux.proxy import shares
from mux.proxy.shares import Shares
from tests.proxy.rig import ALICE, BOB, Rig, Wire, request
from tests.proxy.test_messages import eventually
from tests.proxy.test_tunnels import HANDSHAKE, SWITCH

BOTH_LOOPS = True
BOTH_WAYS = True
MOST = 4


@pytest.fixture
async def small(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A plane with room for 16 connections."""
    monkeypatch.setattr(shares, "SHARE_MIN", 1)
    rig.plane.shares = Shares(4 * MOST)
    yield rig


def test_counts_that_are_back_at_nothing_are_forgotten() -> None:
    held = Shares(10_000)
    for _ in range(100):
        assert held.take(UserId("a")) and held.take(b"192.0.2.1")
    for _ in range(100):
        held.give(UserId("a"))
        held.give(b"192.0.2.1")
    assert not held._held


@pytest.mark.parametrize("total", [360, 767, 1024, 50_000])
def test_an_attendee_and_their_address_leave_a_part_to_others(total: int) -> None:
    """However few there are: with the fewest file descriptors the two took all."""
    held = Shares(total)
    assert sum(held.take(holder) for holder in (UserId("a"), b"192.0.2.1") for _ in range(total)) <= total * 5 // 6


async def test_an_attendee_holds_no_more_than_their_share(small: Rig) -> None:
    clients = [await small.client() for _ in range(MOST)]
    for client in clients:
        assert (await client.ask(request())).body == b"alice"
    refused = await small.ask(request())
    assert (refused.status, refused.code, refused.values("retry-after")) == (429, "too_many_of_yours", ["3"])
    assert (await small.ask(request(user=BOB))).body == b"bob", "others do not feel it"
    assert [(await client.ask(request())).body for client in clients] == [b"alice"] * MOST
    clients[0].close()
    await eventually(lambda: small.plane.shares._held.get(ALICE) == MOST - 1)
    assert (await small.ask(request())).body == b"alice"


async def test_websockets_are_in_the_share_until_they_end(small: Rig) -> None:
    async def script(wire: Wire) -> None:
        await small.alice.request(wire)
        await wire.send(SWITCH)
        await wire.rest()

    small.alice.script = script
    clients = [await small.client() for _ in range(MOST)]
    for client in clients:
        await client.send(HANDSHAKE)
        assert b" 101 " in await client.head()
    assert (await small.ask(request())).status == 429
    for client in clients:
        client.close()
    await eventually(lambda: ALICE not in small.plane.shares._held)


async def test_an_address_without_a_login_holds_no_more_than_its_share(small: Rig) -> None:
    strangers = [await small.client() for _ in range(2 * MOST)]
    for stranger in strangers:
        assert (await stranger.ask(request(user=None))).body == b"web"
    refused = await (await small.client()).response()
    assert (refused.status, refused.code) == (503, "too_many_strangers")
    assert (await strangers[0].ask(request())).body == b"alice", "who has logged in counts for themselves"
    assert (await small.ask(request(user=None))).body == b"web"


async def test_a_room_behind_one_address_is_no_stranger_once_it_has_logged_in(small: Rig) -> None:
    clients = [await small.client() for _ in range(2 * MOST)]
    for number, client in enumerate(clients):
        user, body = ((ALICE, b"alice"), (BOB, b"bob"))[number % 2]
        assert (await client.ask(request(user=user))).body == body
    assert small.plane.shares._held == {ALICE: MOST, BOB: MOST}
    assert (await small.ask(request(user=None))).body == b"web"


def test_a_login_that_stands_for_a_room_leaves_a_share_to_others() -> None:
    held = Shares(4_000, lone=True)
    assert all(held.take(UserId("a")) for _ in range(3_000))
    assert not held.take(UserId("a"))
    assert all(held.take(b"127.0.0.1") for _ in range(2_000))
    assert not held.take(b"127.0.0.1")
