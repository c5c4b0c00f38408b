"""A slice of the fuzz target: the corpus as it is, and some thousand spoilt exchanges. `make fuzz` looks for longer."""

from __future__ import annotations

import pytest

from tests.proxy.fuzz.driver import Fuzzer, Input, corpus

REQUESTS, ANSWERS = corpus("requests"), corpus("answers")
PLAIN = b"GET /camp/intro/x HTTP/1.1\r\nHost: camp.test:8000\r\nCookie: mux_session=token-of-alice\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_every_message_of_the_corpus_is_judged_alike_both_ways() -> None:
    fuzzer = Fuzzer(0)
    await fuzzer.open()
    for request in REQUESTS.values():
        await fuzzer.run(Input((request,), (OK,)))
    for answer in ANSWERS.values():
        await fuzzer.run(Input((PLAIN,), (answer,)))
    await fuzzer.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_spoilt_messages_keep_the_rules(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    await fuzzer.open()
    try:
        for _ in range(600):
            await fuzzer.step()
    except Exception as error:
        raise AssertionError(f"seed {seed}, exchange {fuzzer.exchanges}: {fuzzer.last!r}") from error
    finally:
        await fuzzer.close()
    assert fuzzer.ends > 30


async def test_the_plane_of_the_fuzzer_answers() -> None:
    """The rules would hold for a plane that does nothing."""
    fuzzer = Fuzzer(0)
    await fuzzer.open()
    outcome = await fuzzer.run(Input((PLAIN,), (OK,)))
    await fuzzer.close()
    assert outcome.to_client.endswith(b"\r\n\r\nok")
    assert [name for name, _ in outcome.to_workspaces] == ["1"]
