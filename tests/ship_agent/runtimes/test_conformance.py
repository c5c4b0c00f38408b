"""What every runtime does. A new backend joins by a `Lab` in conftest.py."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from ship_agent.files.names import label_of
from ship_agent.runtimes import terminals
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from ship_agent.snapshots.reading import Known
from ship_agent.snapshots.restore import restore
from ship_agent.snapshots.take import take
from tests.ship_agent.images import EDITOR, free_port
from tests.ship_agent.runtimes.conftest import TOKEN, Lab, opened
from tests.ship_agent.runtimes.docker_lab import DockerLab


@pytest.fixture(params=["process", "docker"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab of each runtime."""
    engine = request.getfixturevalue("docker_engine") if request.param == "docker" else None
    async with opened(DockerLab(tmp_path, engine) if engine else Lab(tmp_path)) as lab:
        yield lab


async def test_a_workspace_is_pulled_started_and_answers_with_its_token_only(lab: Lab) -> None:
    spec = await lab.started()

    state = (await lab.runtime.inspect())[spec.id]
    assert (state.state, state.starts, state.exit_code, state.failure) == ("running", 1, None, "")
    assert (state.run_key, state.seat, state.project, state.port) == (spec.run_key(), 0, "intro", spec.port)
    assert await lab.runtime.images() == {spec.digest}
    async with lab.session.get(f"http://127.0.0.1:{spec.port}/camp/intro/api") as answer:
        assert answer.status == 403


async def test_starting_what_runs_changes_nothing(lab: Lab) -> None:
    spec = await lab.started()
    pid = await lab.answers(spec)

    await lab.runtime.start(spec)

    assert await lab.answers(spec) == pid
    assert (await lab.runtime.inspect())[spec.id].starts == 1


async def test_two_starts_at_once_make_one_run(lab: Lab) -> None:
    spec = await lab.pulled()

    await asyncio.gather(lab.runtime.start(spec), lab.runtime.start(spec))

    assert (await lab.runtime.inspect())[spec.id].starts == 1


async def test_another_specification_is_refused_while_it_runs(lab: Lab) -> None:
    spec = await lab.started()

    with pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.start(replace(spec, secrets={"KEY": "value"}))

    assert failure.value.code == "files_in_use"


async def test_files_survive_a_stop_and_another_specification(lab: Lab) -> None:
    spec = await lab.started()
    await lab.ask(spec, "write", name="mine.txt", text="kept")

    await lab.runtime.stop(spec.id, 5)
    stopped = (await lab.runtime.inspect())[spec.id]
    with_secret = replace(spec, secrets={"API_KEY": "a-secret-value"}, epoch=3, receipt="signed")
    await lab.runtime.start(with_secret)
    await lab.answers(with_secret)

    assert (stopped.state, stopped.failure) == ("exited", "")
    assert await lab.ask(with_secret, "read", name="mine.txt") == "kept"
    assert (await lab.ask(with_secret, "environment"))["API_KEY"] == "a-secret-value"
    state = (await lab.runtime.inspect())[spec.id]
    assert (state.starts, state.epoch, state.run_key) == (2, 3, with_secret.run_key())


async def test_a_note_keeps_the_epoch_over_a_restart_of_the_agent_and_restarts_nothing(lab: Lab) -> None:
    spec = await lab.started()
    pid = await lab.answers(spec)

    await lab.runtime.note(replace(spec, epoch=7, receipt="signed"))
    runtime = await lab.again()

    state = (await runtime.inspect())[spec.id]
    assert (state.epoch, state.starts, state.run_key) == (7, 1, spec.run_key())
    assert await lab.answers(spec) == pid


async def test_a_new_agent_adopts_what_runs_and_sees_it_end(lab: Lab) -> None:
    spec = await lab.started()
    pid = await lab.answers(spec)

    runtime = await lab.again()

    assert (await runtime.inspect())[spec.id].state == "running"
    assert await lab.answers(spec) == pid
    os.kill(pid, signal.SIGKILL)
    ended = await lab.exited(spec.id)
    assert (ended.exit_code, ended.failure) == (137, "exited")


async def test_what_ended_while_no_agent_was_there_is_known_to_the_next(lab: Lab) -> None:
    spec = await lab.started()
    await lab.runtime.close()
    with pytest.raises(Exception):  # noqa: B017 - the connection may be reset in any way
        await lab.ask(spec, "exit", code="41")
        raise ConnectionError
    async with asyncio.timeout(60):
        while lab.living():
            await asyncio.sleep(0.02)

    runtime = await lab.again()

    state = (await runtime.inspect())[spec.id]
    assert (state.state, state.exit_code, state.failure) == ("exited", 41, "exited")


async def test_an_exit_is_noticed_with_its_code_and_it_starts_again_on_its_files(lab: Lab) -> None:
    spec = await lab.started()
    await lab.ask(spec, "write", name="mine.txt", text="kept")

    await lab.ask(spec, "exit", code="3")
    ended = await lab.exited(spec.id)
    await lab.runtime.start(spec)
    await lab.answers(spec)

    assert (ended.exit_code, ended.failure, ended.detail) == (3, "exited", "exited with code 3")
    assert await lab.ask(spec, "read", name="mine.txt") == "kept"


async def test_a_new_image_brings_its_files_and_leaves_the_attendees(lab: Lab) -> None:
    spec = await lab.started(text="first")
    await lab.ask(spec, "write", name="mine.txt", text="kept")
    said = []
    with pytest.raises(RuntimeFailure, match="it runs"):
        await lab.runtime.have_files(spec)
    for text in ("second", "third"):
        await lab.runtime.stop(spec.id, 5)
        project = await lab.project(text=text)
        await lab.runtime.pull(project, project.digest, lambda _: None)
        spec = replace(spec, project=project, digest=project.digest)
        for _ in range(2 if text == "second" else 0):
            await lab.runtime.have_files(spec)  # as before they are restored
            home = (await lab.runtime.inspect())[spec.id].home
            assert home is not None
            assert ((home / "notes.txt").read_text(), (home / "mine.txt").read_text()) == ("second", "kept")
        await lab.runtime.start(spec)
        await lab.answers(spec)
        said.append(await lab.ask(spec, "read", name="notes.txt"))
        await lab.ask(spec, "write", name="notes.txt", text="edited")

    assert said == ["second", "edited"]
    assert await lab.ask(spec, "read", name="mine.txt") == "kept"
    beside = f"notes.new-{label_of(spec.project.image, spec.digest)}.txt"
    assert await lab.ask(spec, "read", name=beside) == "third"


async def test_one_file_starts_over_while_it_runs_and_all_of_them_while_it_is_stopped(lab: Lab) -> None:
    spec = await lab.started(text="first")
    await lab.ask(spec, "write", name="notes.txt", text="edited")
    await lab.ask(spec, "write", name="mine.txt", text="mine")

    assert await lab.runtime.start_over(spec, b"notes.txt") == b"notes.before-start-over.txt"
    assert await lab.ask(spec, "read", name="notes.txt") == "first"
    assert await lab.ask(spec, "read", name="notes.before-start-over.txt") == "edited"
    assert await lab.runtime.start_over(spec, b"notes.txt") is None
    with pytest.raises(RuntimeFailure) as refusal:
        await lab.runtime.start_over(spec, b"mine.txt")
    assert refusal.value.code == "not_in_image"
    with pytest.raises(RuntimeFailure) as refusal:
        await lab.runtime.start_over(spec, b"")
    assert refusal.value.code == "files_in_use"

    await lab.runtime.stop(spec.id, 5)
    assert await lab.runtime.start_over(spec, b"") == b"before-reset"
    assert await lab.runtime.start_over(spec, b"") is None
    await lab.runtime.start(spec)
    await lab.answers(spec)
    assert await lab.ask(spec, "read", name="before-reset/mine.txt") == "mine"


async def test_a_process_killed_from_outside_is_reported_by_signal(lab: Lab) -> None:
    spec = await lab.started()

    os.kill(await lab.answers(spec), signal.SIGKILL)

    ended = await lab.exited(spec.id)
    assert (ended.exit_code, ended.detail) == (137, "killed by SIGKILL")


async def test_removing_destroys_processes_and_files(lab: Lab) -> None:
    spec = await lab.started()
    await lab.ask(spec, "write", name="mine.txt", text="private")

    await lab.runtime.remove(spec.id)
    await lab.runtime.remove(spec.id)

    assert lab.living() == []
    assert dict(await lab.runtime.inspect()) == {}
    await lab.runtime.start(spec)
    await lab.answers(spec)
    with pytest.raises(Exception, match="404"):
        await lab.ask(spec, "read", name="mine.txt")


async def test_one_that_does_not_stop_when_asked_is_killed_with_all_it_started(lab: Lab) -> None:
    spec = await lab.started(environment={"STUBBORN": "1"})
    await lab.ask(spec, "detach", env=json.dumps({}))
    await lab.ask(spec, "detach")

    await lab.runtime.stop(spec.id, 0.2)

    assert (await lab.runtime.inspect())[spec.id].state == "exited"
    assert lab.living() == []


async def test_what_a_workspace_detached_is_gone_after_a_stop(lab: Lab) -> None:
    spec = await lab.started()
    detached = [await lab.ask(spec, "detach", env=json.dumps({})), await lab.ask(spec, "detach")]
    processes = await lab.processes_of(spec, detached)
    assert len(processes) >= len(detached)

    await lab.runtime.stop(spec.id, 5)

    assert [pid for pid in processes if os.path.exists(f"/proc/{pid}")] == []  # noqa: PTH110


async def edits(lab: Lab, spec: WorkspaceSpec, *, ignores: str = "") -> None:
    """Have an editor in a terminal, which saves what it is ended by."""
    await lab.ask(spec, "edit", editor=EDITOR, name="draft.txt", ignores=ignores)
    async with asyncio.timeout(60):
        while await draft(lab, spec) != "open":
            await asyncio.sleep(0.02)


async def draft(lab: Lab, spec: WorkspaceSpec) -> str:
    try:
        return str(await lab.ask(spec, "read", name="draft.txt"))
    except aiohttp.ClientResponseError:
        return ""


async def test_what_runs_in_a_terminal_may_save_before_a_stop(lab: Lab) -> None:
    spec = await lab.started()
    await edits(lab, spec)

    await lab.runtime.stop(spec.id, 120)

    await lab.runtime.start(spec)
    await lab.answers(spec)
    assert await draft(lab, spec) == "SIGHUP"


async def test_what_does_not_hang_up_is_asked_to_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminals, "HANG_UP_SHARE", 0.001)
    spec = await lab.started()
    await edits(lab, spec, ignores="SIGHUP")

    await lab.runtime.stop(spec.id, 120)

    await lab.runtime.start(spec)
    await lab.answers(spec)
    assert await draft(lab, spec) == "SIGTERM"


async def test_a_failing_hook_ends_the_start_and_is_named(lab: Lab) -> None:
    hooks = {
        "10-fine.sh": "echo fine",
        "20-broken": "#!/bin/sh\necho no such data >&2\nexit 9\n",
        "30-late.sh": "echo late",
    }
    spec = await lab.pulled(hooks=hooks)

    await lab.runtime.start(spec)
    ended = await lab.exited(spec.id)

    assert (ended.failure, ended.exit_code) == ("hook_failed", 9)
    assert "20-broken" in ended.detail
    tail = await lab.runtime.log_tail(spec.id, 50)
    assert "fine" in tail
    assert "no such data" in tail
    assert "late\n" not in tail


async def test_hooks_run_in_order_in_the_home_with_the_environment_of_the_command(lab: Lab) -> None:
    hooks = {"2.sh": "echo two $MUX_PROJECT >> order.txt", "1": "#!/bin/sh\necho one > order.txt", "README": "no hook"}
    spec = await lab.pulled(hooks=hooks)

    await lab.runtime.start(spec)
    await lab.answers(spec)

    assert await lab.ask(spec, "read", name="order.txt") == "one\ntwo intro\n"


async def test_the_log_tail_has_the_last_lines_without_secrets(lab: Lab) -> None:
    spec = replace(await lab.started(), secrets={"KEY": "hunter2-hunter2"})
    await lab.runtime.stop(spec.id, 5)
    await lab.runtime.start(spec)
    await lab.answers(spec)
    for number in range(60):
        await lab.ask(spec, "print", text=f"line {number} {TOKEN} \x1b[31mhunter2-hunter2\x1b[0m\x07")

    tail = ""
    async with asyncio.timeout(60):
        while "line 59" not in tail:  # output is on its way for a moment
            tail = await lab.runtime.log_tail(spec.id, 50)

    assert tail.splitlines()[-1] == "line 59 [redacted] [redacted]"
    assert len(tail.splitlines()) == 50
    assert TOKEN not in tail
    assert "hunter2" not in tail


async def test_a_port_in_use_is_said_before_anything_is_started(lab: Lab) -> None:
    spec = await lab.pulled()
    with socket.create_server(("127.0.0.1", spec.port)), pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.start(spec)

    assert failure.value.code == "port_in_use"
    assert str(spec.port) in failure.value.detail


async def test_an_image_that_is_not_there_is_refused(lab: Lab) -> None:
    project = await lab.project()
    unknown = project.model_copy(update={"image": f"{project.image}-not", "digest": f"sha256:{'1' * 64}"})

    with pytest.raises(RuntimeFailure) as missing:
        await lab.runtime.pull(unknown, unknown.digest, lambda _: None)
    with pytest.raises(RuntimeFailure) as unpulled:
        await lab.runtime.start(lab.spec(project))

    assert missing.value.code in {"image_missing", "registry_refused", "registry_away"}
    assert unpulled.value.code == "image_missing"
    assert await lab.runtime.images() == frozenset()
    assert dict(await lab.runtime.inspect()) == {}


async def test_an_image_is_forgotten_and_pulled_again(lab: Lab) -> None:
    project = await lab.project()
    said: list[str] = []
    await lab.runtime.pull(project, project.digest, said.append)
    await lab.runtime.forget_image(project.digest)
    await lab.runtime.forget_image(project.digest)
    assert await lab.runtime.images() == frozenset()

    await lab.runtime.pull(project, project.digest, said.append)

    assert await lab.runtime.images() == {project.digest}
    assert "intro" in said[0]


async def test_limits_name_each_limit_once(lab: Lab) -> None:
    limits = lab.runtime.limits()

    assert sorted([*limits.enforced, *limits.missing]) == ["cpu", "files", "memory", "pids", "shm"]


async def test_limits_in_force_are_seen_from_inside(lab: Lab) -> None:
    enforced = lab.runtime.limits().enforced
    spec = await lab.started(pids=20)

    if "files" in enforced:
        text = await lab.ask(spec, "read", name="/proc/self/limits")
        assert int(next(line for line in text.splitlines() if "open files" in line).split()[3]) <= 8192
    if "pids" in enforced:
        assert await lab.ask(spec, "forks", n="40") < 20
    assert "files" in enforced


async def test_nothing_of_the_agents_environment_leaks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-agent")
    monkeypatch.setenv("MUX_ROOT_KEY", "of-the-mux")

    spec = await lab.started(environment={"GREETING": "hello", "MUX_TOKEN": "not-this"})

    seen = await lab.ask(spec, "environment")
    assert "of-the-agent" not in seen.values()
    assert "MUX_ROOT_KEY" not in seen
    assert (seen["GREETING"], seen["MUX_TOKEN"], seen["JUPYTER_TOKEN"]) == ("hello", TOKEN, TOKEN)
    assert (seen["MUX_WORKSPACE"], seen["MUX_PORT"], seen["MUX_PROJECT"]) == (spec.id, seen_port(lab, spec), "intro")


def seen_port(lab: Lab, spec: WorkspaceSpec) -> str:
    """The port that a workspace is told: its own, or the one inside its container."""
    return str(spec.project.port if lab.runtime.name == "docker" else spec.port)


async def test_a_command_that_does_not_exist_is_named(lab: Lab) -> None:
    spec = await lab.pulled(command=["/no/such/program"])

    await lab.runtime.start(spec)

    ended = await lab.exited(spec.id)
    assert ended.failure == "command_missing"
    assert "/no/such/program" in ended.detail


async def greeting(port: int) -> bytes:
    """What a port of this machine says first; empty if nobody is there."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return b""
    async with asyncio.timeout(30):
        try:
            return await reader.read(4)
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def test_a_further_port_leads_to_what_listens_where_its_variable_says(lab: Lab) -> None:
    project = await lab.project(ports={"dash-board": 8787, "idle": 6006})
    spec = lab.spec(project, ports={"dash-board": free_port(), "idle": free_port()})
    await lab.runtime.pull(project, project.digest, lambda _: None)
    with socket.create_server(("127.0.0.1", spec.ports["idle"])), pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.start(spec)
    assert failure.value.code == "port_in_use"
    assert str(spec.ports["idle"]) in failure.value.detail
    await lab.runtime.start(spec)
    await lab.answers(spec)
    told = await lab.ask(spec, "environment")

    await lab.ask(spec, "listen", port=told["MUX_PORT_DASH_BOARD"])

    assert await greeting(spec.ports["dash-board"]) == b"here"
    assert await greeting(spec.ports["idle"]) == b""
    inside = lab.runtime.name == "docker"
    assert told["MUX_PORT_IDLE"] == str(6006 if inside else spec.ports["idle"])
    assert told["MUX_PORT"] == seen_port(lab, spec)


@pytest.mark.long
async def test_ports_named_later_restart_nothing_and_are_there_after_the_next_start(lab: Lab) -> None:
    spec = await lab.started()
    later = replace(
        spec, project=spec.project.model_copy(update={"ports": {"dash": 8787}}), ports={"dash": free_port()}
    )
    assert later.run_key() == spec.run_key()

    await lab.runtime.stop(spec.id, 5)
    await lab.runtime.start(later)
    await lab.answers(later)

    await lab.ask(later, "listen", port=(await lab.ask(later, "environment"))["MUX_PORT_DASH"])
    assert await greeting(later.ports["dash"]) == b"here"


async def test_projects_of_one_attendee_share_what_both_name_and_see_nothing_else_of_each_other(lab: Lab) -> None:
    """Each has its own files and limits; another attendee on the same ship shares neither."""
    project = await lab.project(shared=["data"])
    await lab.runtime.pull(project, project.digest, lambda _: None)
    other = project.model_copy(update={"name": "other", "base_path": "/camp/other/", "pids": 20})
    alone = project.model_copy(update={"name": "alone", "base_path": "/camp/alone/", "shared": []})
    mine = lab.spec(project, shared="ship-1.0.intro.1")
    also_mine = lab.spec(other, "ship-1.0.other.2", shared=mine.shared)
    apart = lab.spec(alone, "ship-1.0.alone.3", shared=mine.shared)
    theirs = lab.spec(project, "ship-1.1.intro.4", seat=1, shared="ship-1.1.intro.4")
    specs = (mine, also_mine, apart, theirs)
    await asyncio.gather(*(lab.runtime.start(spec) for spec in specs))
    for spec in specs:
        await lab.answers(spec)
    places = [(await lab.ask(spec, "environment")).get("MUX_SHARED_DATA") for spec in specs]
    assert [bool(place) for place in places] == [True, True, False, True]

    await lab.ask(mine, "write", name="shared-data/found.txt", text="of mine")
    await lab.ask(mine, "write", name="own.txt", text="of mine alone")

    assert await lab.ask(also_mine, "read", name="shared-data/found.txt") == "of mine"
    assert await lab.ask(also_mine, "read", name=f"{places[1]}/found.txt") == "of mine"
    await lab.ask(also_mine, "write", name="shared-data/found.txt", text="changed")
    assert await lab.ask(mine, "read", name="shared-data/found.txt") == "changed"
    for spec, name in ((also_mine, "own.txt"), (apart, "shared-data/found.txt"), (theirs, "shared-data/found.txt")):
        with pytest.raises(Exception, match="404"):
            await lab.ask(spec, "read", name=name)
    if "pids" in lab.runtime.limits().enforced:
        assert await lab.ask(also_mine, "forks", n="30") < 20
        assert await lab.ask(mine, "forks", n="30") == 30

    # What one of them was claimed for is kept safe, and found by whoever it is restored to.
    lab.runtime.shared.claim(mine)
    here = await lab.runtime.inspect()
    assert [here[spec.id].shares.keys() for spec in specs] == [{"data"}, {"data"}, {"data"}, set()]
    taken = take(here[mine.id].shares["data"], Known(), 0.0)
    assert [entry.path for entry in taken.manifest.entries] == ["found.txt"]
    (vacant,) = lab.runtime.shared.vacant(theirs).values()
    restore(vacant, taken.manifest, {hashlib.sha256(b"changed").hexdigest(): b"changed"}.__getitem__)
    assert await lab.ask(theirs, "read", name="shared-data/found.txt") == "changed"
    await lab.ask(theirs, "write", name="shared-data/found.txt", text="goes on")


@pytest.mark.long
async def test_what_is_shared_outlives_swaps_and_agents_and_goes_with_the_last_workspace(lab: Lab) -> None:
    project = await lab.project(shared=["data"])
    await lab.runtime.pull(project, project.digest, lambda _: None)
    first, second = (lab.spec(project, f"ship-1.0.{name}.1", shared="ship-1.0.a.1") for name in "ab")
    for spec in (first, second):
        await lab.runtime.start(spec)
        await lab.answers(spec)
    await lab.ask(first, "write", name="shared-data/found.txt", text="kept")
    lab.runtime.shared.claim(first)

    await lab.runtime.stop(first.id, 5)
    fixed = await lab.project(text="fixed", shared=["data"])
    await lab.runtime.pull(fixed, fixed.digest, lambda _: None)
    swapped = replace(first, project=fixed, digest=fixed.digest)
    await (await lab.again()).start(swapped)
    await lab.answers(swapped)
    assert await lab.ask(swapped, "read", name="shared-data/found.txt") == "kept"
    assert lab.runtime.shared.vacant(second) == {}
    assert [each.shares.keys() for each in (await lab.runtime.inspect()).values()] == [{"data"}, {"data"}]

    await lab.runtime.remove(first.id)
    assert await lab.ask(second, "read", name="shared-data/found.txt") == "kept"
    await lab.runtime.remove(second.id)
    assert list((lab.directory / "ship/shared").iterdir()) == []
