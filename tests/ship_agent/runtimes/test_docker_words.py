"""What the runtime docker makes of logs, ends and the engine's errors; no engine is needed."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiodocker.exceptions import DockerError
from aiohttp import web

from ship_agent.runtimes import docker_client, docker_records
from ship_agent.runtimes.docker_client import EngineClient
from ship_agent.runtimes.docker_ends import why_ended
from ship_agent.runtimes.docker_errors import failure, pull_failure
from ship_agent.runtimes.docker_images import repository
from ship_agent.runtimes.docker_logs import failed_hook, hook_under_way
from ship_agent.runtimes.docker_network import policy
from ship_agent.runtimes.docker_records import OUTLIVED_S, Held
from tests.ship_agent.runtimes.test_jupyter_words import spec

STACKS = "/usr/local/bin/before-notebook.d/10activate.sh"


@pytest.mark.parametrize(
    ("line", "hook"),
    [
        ("ERROR /usr/local/bin/start-notebook.d/20-data.sh has failed, continuing execution", "20-data.sh"),
        ("[I 2024-01-01] '/usr/local/bin/before-notebook.d/x' has failed, continuing execution", "x"),
        ("the download has failed, continuing execution", ""),
        ("/home/jovyan/start-notebook.d has failed", ""),
        ("Running executable: /usr/local/bin/start-notebook.d/20-data.sh", ""),
    ],
)
def test_a_line_that_says_that_a_hook_has_failed_names_it(line: str, hook: str) -> None:
    assert failed_hook(line) == hook


def test_the_hook_that_had_begun_last_ended_the_start() -> None:
    begun = [
        "/usr/local/bin/start.sh: running hooks in /usr/local/bin/start-notebook.d",
        "/usr/local/bin/start.sh: running /usr/local/bin/start-notebook.d/10-a.sh",
        "/usr/local/bin/start.sh: running /usr/local/bin/start-notebook.d/20-b",
        "no such file",
    ]
    assert hook_under_way(begun) == "20-b"
    assert hook_under_way([*begun, "Done running hooks in: /usr/local/bin/start-notebook.d"]) == ""
    assert hook_under_way([*begun, "Executing the command: jupyter lab", f"Running: {STACKS}"]) == ""


@pytest.mark.parametrize(
    ("code", "oom", "hook", "log", "reason"),
    [
        (137, True, "", "", "oom"),
        (1, True, "", "", "exited"),
        (137, False, "10-a.sh", "", "hook_failed"),
        (3, False, "", f"Sourcing shell script: {STACKS}\nno", "hook_failed"),
        (0, False, "", f"Sourcing shell script: {STACKS}\nno", "exited"),
        (127, False, "", "", "command_missing"),
        (1, False, "", "OSError: [Errno 28] No space left on device", "disk_full"),
        (126, False, "", "[FATAL tini (7)] exec start.sh failed: Exec format error", "image_invalid"),
        (143, False, "", "", "exited"),
        (255, False, "", "", "exited"),
    ],
)
def test_an_end_has_one_reason(code: int, oom: bool, hook: str, log: str, reason: str) -> None:
    assert why_ended(code, oom=oom, bad_hook=hook, program="jupyter", log_text=log)[0] == reason


@pytest.mark.parametrize(
    ("status", "message", "code", "retryable"),
    [
        (404, "manifest for x@sha256:1 not found: manifest unknown", "image_missing", False),
        (404, "unknown blob", "image_missing", True),
        (500, "error pulling image configuration: unknown blob", "image_missing", True),
        (500, 'Get "https://r/v2/": unauthorized: authentication required', "registry_refused", True),
        (404, "pull access denied for x, repository does not exist or may require login", "registry_refused", True),
        (500, "Get https://r/v2/: dial tcp: connect: connection refused", "registry_away", True),
        (500, "received unexpected HTTP status: 503 Service Unavailable", "registry_away", True),
        (500, "toomanyrequests: You have reached your pull rate limit", "registry_away", True),
        (500, "write /var/lib/docker/tmp/x: no space left on device", "disk_full", True),
        (900, "Cannot connect to Docker Engine", "engine_away", True),
    ],
)
def test_a_failed_pull_has_a_reason_that_says_whether_another_try_can_help(
    status: int, message: str, code: str, retryable: bool
) -> None:
    found = pull_failure(DockerError(status, message), "x")
    assert (found.code, found.retryable) == (code, retryable)


def test_a_taken_port_is_told() -> None:
    error = DockerError(500, "driver failed: Bind for 127.0.0.1:20000 failed: port is already allocated")
    assert failure(error, "the container").code == "port_in_use"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("intro", "intro"),
        ("intro:1.2", "intro"),
        ("host:5000/camp/intro", "host:5000/camp/intro"),
        ("host:5000/camp/intro:1@sha256:00", "host:5000/camp/intro"),
    ],
)
def test_a_repository_is_the_reference_without_tag_and_digest(reference: str, name: str) -> None:
    assert repository(reference) == name


def test_name_servers_are_for_open_alone() -> None:
    assert policy("198.18.0.2", ("open",), ("192.0.2.53",)).resolvers == ("192.0.2.53",)
    listed = policy("198.18.0.2", ("192.0.2.0/24", "192.0.2.1/32:443"), ("192.0.2.53",))
    assert (listed.public, listed.resolvers) == (False, ())
    assert [(each.network, each.port) for each in listed.allowed] == [("192.0.2.0/24", None), ("192.0.2.1/32", 443)]
    assert policy("198.18.0.2", ("none",), ()).allowed == ()


class _Engine:
    """Answers for one container that was killed; ``reasons``: what it says of memory, look by look."""

    def __init__(self) -> None:
        self.reasons = [False]

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41"})

    async def show(self, request: web.Request) -> web.Response:
        killed = self.reasons.pop(0) if len(self.reasons) > 1 else self.reasons[0]
        return web.json_response({"Id": "c", "State": {"ExitCode": 137, "OOMKilled": killed}})


def test_a_kill_for_memory_counts_once_the_container_has_outlived_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("ship_agent.runtimes.docker_records.time.monotonic", lambda: now)
    held = Held(tmp_path, docker_records.starting(spec(), None, (), "", ""), container="c", running=True)
    counts = []
    for passed in (0.0, OUTLIVED_S):
        held.lost_to_memory()
        now += passed
        counts.append(held.memory_kills_outlived())
    held.lost_to_memory()
    counts.append(held.memory_kills_outlived())
    assert counts == [0, 2, 2], "the last one may be the end of the container"
    held.running = False
    assert docker_records.shown("w", held, {}).memory_kills == 0


def test_a_start_that_an_agent_was_killed_in_is_nobodys_failure(tmp_path: Path) -> None:
    """A push has its image proved by such starts: the image is not refused for the agent's sake."""
    found = docker_records.shown("w", Held(tmp_path, docker_records.starting(spec(), None, (), "jupyter", "")), {})
    assert (found.state, found.failure) == ("exited", "")


@pytest.fixture
async def engine() -> AsyncIterator[tuple[_Engine, EngineClient]]:
    """An engine and its client."""
    told, app = _Engine(), web.Application()
    app.router.add_get("/version", told.version)
    app.router.add_get("/v1.41/containers/c/json", told.show)
    runner = web.AppRunner(app)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="mux-") as directory:
        path = str(Path(directory) / "engine.sock")
        await web.UnixSite(runner, path).start()
        client = EngineClient(path, "scope")
        yield told, client
        await client.close()
        await runner.cleanup()


async def test_a_kill_whose_reason_is_told_later_is_one_for_memory(
    engine: tuple[_Engine, EngineClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, client = engine
    monkeypatch.setattr(docker_client, "OOM_TOLD_S", 30.0)
    told.reasons = [False, False, True]

    assert await client.killed_for_memory({"OOMKilled": False}, "c", lambda: False)
    assert await client.killed_for_memory({}, "c", iter([False, True]).__next__)
    monkeypatch.setattr(docker_client, "OOM_TOLD_S", 0.1)
    told.reasons = [False]
    assert not await client.killed_for_memory({}, "c", lambda: False)
    assert not await client.killed_for_memory({}, None, lambda: False)
