"""The tests' own Docker engine: shared by all who need it, back when it was killed, gone with its last user."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

from tests.docker_engine import Engine, shared_engine


def test_two_users_share_one_engine(docker_engine: Engine) -> None:
    with shared_engine() as second:
        assert second.socket == docker_engine.socket
        assert second.answers()
    assert docker_engine.answers()


def test_a_keeper_that_was_killed_is_replaced_and_its_engine_with_it(docker_engine: Engine) -> None:
    before = docker_engine.pid
    assert docker_engine.run is not None
    keeper = psutil.Process(int((docker_engine.run / "keeper.pid").read_text()))
    keeper.kill()
    with contextlib.suppress(psutil.TimeoutExpired):
        keeper.wait(60)
    with shared_engine() as engine:
        assert engine.answers()
        assert engine.pid != before
        assert int((docker_engine.run / "keeper.pid").read_text()) != keeper.pid


def test_an_engine_that_was_killed_comes_back(docker_engine: Engine) -> None:
    before = psutil.Process(docker_engine.pid)
    os.kill(before.pid, signal.SIGKILL)
    before.wait(60)
    docker_engine.wait_ready()
    assert docker_engine.pid != before.pid
