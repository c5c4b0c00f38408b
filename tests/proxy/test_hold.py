"""Requests wait while a workspace gets another image, and are answered as if nothing had been."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mux.core.feed import FeedSettings
from mux.core.routes import Delta
from mux.proxy.routing import FeedRouter
from tests.proxy.rig import ALICE, INTRO, PATIENCE_S, SETTINGS, Rig, Wire, request, session_of
from tests.proxy.test_tunnels import open_tunnel

BOTH_WAYS = True
PATIENT = replace(SETTINGS, swap_hold_s=PATIENCE_S)


async def hold(rig: Rig, *, held: bool = True, settings: FeedSettings = PATIENT) -> None:
    """Put Alice's route in force, as held or not, as the feed does it."""
    route = replace(rig.route(rig.alice), hold=held)
    before = {(ALICE, INTRO): rig.table.routes[ALICE, INTRO]}
    rig.table = rig.table.apply(Delta(routes={(ALICE, INTRO): route}))
    await rig.plane.put_in_force(FeedRouter(settings, rig.table, rig.web_path), "Test Camp", (), before)


async def holding(rig: Rig, number: int = 1) -> None:
    """Until so many requests wait."""
    async with asyncio.timeout(PATIENCE_S):
        while rig.plane.tally.values.get("mux_proxy_holds_total", 0) < number:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "asked",
    [request(), request(b"POST /camp/intro/x", b"Content-Length: 4", b"Origin: http://camp.test:8000", body=b"save")],
)
async def test_a_request_waits_and_is_answered_by_the_workspace_that_comes(rig: Rig, asked: bytes) -> None:
    client = await rig.client()
    assert (await client.ask(request())).body == b"alice"
    await hold(rig)
    seen = len(rig.alice.requests)
    await client.send(asked)
    await holding(rig)
    assert len(rig.alice.requests) == seen, "nothing reached the workspace that goes"
    await hold(rig, held=False)
    assert (await client.response()).body == b"alice"
    assert (await client.ask(request())).body == b"alice"
    assert (await rig.ask(request(b"GET /camp/"))).body == b"web"


async def test_whoever_has_waited_long_enough_is_told_and_comes_back(rig: Rig) -> None:
    await hold(rig, settings=replace(SETTINGS, swap_hold_s=0.0))
    answer = await rig.ask(request())
    assert (answer.status, answer.code) == (503, "updating")
    page = await rig.ask(request(b"GET /camp/intro/lab", b"Accept: text/html", b"Sec-Fetch-Dest: document"))
    assert page.status == 503
    assert page.values("refresh") and b"updated" in page.body


async def test_a_request_that_the_old_workspace_does_not_answer_any_more_waits_for_the_new_one(rig: Rig) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        asked.set()
        await gone.wait()

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    await hold(rig)
    rig.alice.script = None
    gone.set()
    await holding(rig)
    await hold(rig, held=False)
    assert (await client.response()).body == b"alice"


async def test_an_answer_that_has_begun_comes_to_its_end(rig: Rig) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nol")
        begun.set()
        await go.wait()
        await wire.send(b"d!")

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    await hold(rig)
    go.set()
    assert (await client.response()).body == b"old!"


async def test_tunnels_of_the_old_workspace_are_closed(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    await hold(rig)
    assert await client.closed() == b""
    assert await workspace.closed() == b""


async def test_a_login_that_ends_meanwhile_gets_nothing_of_the_workspace(rig: Rig) -> None:
    await hold(rig)
    client = await rig.client()
    await client.send(request())
    await holding(rig)
    session = session_of(rig.tokens[ALICE])
    rig.table = rig.table.apply(Delta(sessions={session: None}))
    await rig.plane.put_in_force(FeedRouter(PATIENT, rig.table, rig.web_path), "Test Camp", [session], {})
    assert (await client.response()).body == b"web"
    assert not rig.alice.requests
