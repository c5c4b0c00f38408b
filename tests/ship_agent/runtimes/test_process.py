"""What belongs to the process runtime alone: its files, its shim, its limits, and how it takes a full disk."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ship_agent.files import place
from ship_agent.protocol.messages import LOG_TAIL_CHARS_MAX
from ship_agent.runtimes import cgroups, logs, process, shim
from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.runtimes.cgroups import Cgroups, Wanted, remove_groups
from ship_agent.runtimes.images import ImageStore
from ship_agent.runtimes.process import ProcessRuntime
from ship_agent.runtimes.workspace import spawn_shim
from tests.ship_agent.images import COMMAND, make_image, project_of
from tests.ship_agent.runtimes.conftest import TOKEN, Lab


def shim_of(lab: Lab) -> int:
    return next(pid for pid in lab.living() if b"shim.py" in Path(f"/proc/{pid}/cmdline").read_bytes())


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, no file is copied to its end."""

    def copy_half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    def write_half(reading: int, writing: int) -> None:
        os.write(writing, os.read(reading, os.fstat(reading).st_size // 2))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copy_half)
    monkeypatch.setattr(place, "_copy_bytes", write_half)


async def test_neither_token_nor_secret_is_in_any_command_line(lab: Lab) -> None:
    spec = replace(await lab.started(), secrets={"KEY": "a-secret-value"})
    await lab.runtime.stop(spec.id, 5)
    await lab.runtime.start(spec)
    await lab.answers(spec)

    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in lab.living()]

    assert len(lines) == 2
    assert not any(TOKEN.encode() in line or b"a-secret-value" in line for line in lines)


async def test_what_holds_secrets_on_disk_is_the_owners_alone(lab: Lab) -> None:
    spec = await lab.started()
    directory = lab.directory / "ship/workspaces" / spec.id

    holders = [path for path in directory.rglob("*.json") if TOKEN in path.read_text()]

    assert sorted(path.name for path in holders) == ["launch.json", "workspace.json"]
    assert [path.stat().st_mode & 0o077 for path in holders] == [0, 0]
    assert directory.stat().st_mode & 0o077 == 0


async def test_a_killed_shim_is_noticed_and_its_workspace_swept_up(lab: Lab) -> None:
    spec = await lab.started()
    await lab.ask(spec, "detach")

    os.kill(shim_of(lab), signal.SIGKILL)
    ended = await lab.exited(spec.id)

    assert (ended.exit_code, ended.failure) == (137, "exited")
    assert lab.living() == []
    await lab.runtime.start(spec)
    await lab.answers(spec)


async def test_a_shim_killed_while_no_agent_is_there_is_swept_up_by_the_next(lab: Lab) -> None:
    spec = await lab.started()
    await lab.runtime.close()
    os.kill(shim_of(lab), signal.SIGKILL)
    async with asyncio.timeout(10):
        while len(lab.living()) > 1:
            await asyncio.sleep(0.02)

    runtime = await lab.again()

    assert (await runtime.inspect())[spec.id].state == "exited"
    assert lab.living() == []


async def test_a_pid_that_was_given_to_somebody_else_is_left_alone(lab: Lab) -> None:
    spec = await lab.started()
    await lab.runtime.stop(spec.id, 5)
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        (lab.directory / "ship/workspaces" / spec.id / "shim.json").write_text(
            json.dumps({"pid": stranger.pid, "mark": "another boot:12345"})
        )
        runtime = await lab.again()

        assert (await runtime.inspect())[spec.id].state == "exited"
        await runtime.stop(spec.id, 0)
        assert stranger.poll() is None
        stranger.kill()


async def test_a_second_shim_never_runs_on_the_same_files(lab: Lab) -> None:
    spec = await lab.started()

    second = subprocess.run(
        [sys.executable, "-I", "-S", shim.__file__, str(lab.directory / "ship/workspaces" / spec.id)],
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert second.returncode == shim.LOCKED_EXIT
    assert (await lab.runtime.inspect())[spec.id].state == "running"


async def test_a_start_that_is_under_way_is_not_shown_as_an_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = await lab.started()
    os.kill(await lab.answers(spec), signal.SIGTERM)
    before = await lab.exited(spec.id)
    spawned, go_on = threading.Event(), threading.Event()

    def spawn_slowly(directory: Path) -> subprocess.Popen[bytes]:
        spawned.set()
        go_on.wait()
        return spawn_shim(directory)

    monkeypatch.setattr(process, "spawn_shim", spawn_slowly)
    start = asyncio.create_task(lab.runtime.start(spec))
    await asyncio.to_thread(spawned.wait)
    try:
        assert (await lab.runtime.inspect())[spec.id] == before
    finally:
        go_on.set()
        await start
    after = (await lab.runtime.inspect())[spec.id]
    assert (after.state, after.starts) == ("running", before.starts + 1)


async def test_files_go_even_if_directories_forbid_it(lab: Lab) -> None:
    spec = await lab.started()
    home = lab.directory / "ship/workspaces" / spec.id / "home"
    (home / "locked").mkdir()
    (home / "locked/file").touch()
    (home / "locked").chmod(0o500)

    await lab.runtime.remove(spec.id)

    assert list((lab.directory / "ship/workspaces").iterdir()) == []


async def test_a_damaged_record_loses_no_files(lab: Lab) -> None:
    """Nor what is shared, also once the record is written again without it being known."""
    project = await lab.project(shared=["data"])
    await lab.runtime.pull(project, project.digest, lambda _: None)
    spec = lab.spec(project, shared="ship-1.0.intro.1")
    await lab.runtime.start(spec)
    await lab.answers(spec)
    for name in ("mine.txt", "shared-data/found.txt"):
        await lab.ask(spec, "write", name=name, text="kept")
    await lab.runtime.stop(spec.id, 5)
    (lab.directory / "ship/workspaces" / spec.id / "workspace.json").write_text("{")

    await (await lab.again()).note(spec)
    runtime = await lab.again()
    await runtime.start(spec)
    await lab.answers(spec)

    for name in ("mine.txt", "shared-data/found.txt"):
        assert await lab.ask(spec, "read", name=name) == "kept"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("workspace.json", {"seat": "none"}),
        ("workspace.json", {"project": "No Name"}),
        ("workspace.json", {"port": -1}),
        ("workspace.json", {"digest": "sha256:"}),
        ("exit.json", {"reason": "Not A Code"}),
        ("exit.json", {"code": "nought"}),
    ],
)
async def test_what_a_workspace_wrote_into_its_records_is_never_passed_on(
    lab: Lab, file: str, change: dict[str, object]
) -> None:
    spec = await lab.started()
    await lab.runtime.stop(spec.id, 5)
    path = lab.directory / "ship/workspaces" / spec.id / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    state = (await (await lab.again()).inspect())[spec.id]

    said = (state.seat, state.project, state.port, state.digest, state.failure, state.exit_code)
    assert not set(change.values()) & set(said)
    assert state.state == "exited"


async def test_a_stranger_among_the_workspaces_is_left_alone(lab: Lab) -> None:
    stranger = lab.directory / "ship/workspaces/not a workspace"
    stranger.mkdir()

    runtime = await lab.again()

    assert dict(await runtime.inspect()) == {}
    assert stranger.exists()


async def test_a_full_disk_is_one_clear_sentence_and_leaves_no_half_image(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(lab.image())
    fill_the_disk(monkeypatch)
    with pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.pull(project, project.digest, lambda _: None)

    assert (failure.value.code, failure.value.retryable) == ("disk_full", True)
    assert failure.value.detail == "the disk is full: no room for the image of intro; free some space"
    assert await lab.runtime.images() == frozenset()
    assert [path.name for path in (lab.directory / "ship/images").iterdir()] == [".boot"]
    monkeypatch.undo()
    await lab.runtime.pull(project, project.digest, lambda _: None)


async def test_a_disk_that_is_full_while_files_are_made_leaves_no_half_home(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(lab.image())
    spec = lab.spec(project)
    await lab.runtime.pull(project, project.digest, lambda _: None)

    fill_the_disk(monkeypatch)
    with pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.start(spec)
    monkeypatch.undo()
    await lab.runtime.start(spec)
    await lab.answers(spec)

    assert failure.value.code == "disk_full"
    assert await lab.ask(spec, "read", name="notes.txt") == "as given"


def test_after_another_boot_images_are_hashed_again(tmp_path: Path, lab_image: Path) -> None:
    store = ImageStore(tmp_path / "images")
    store.open("boot-1")
    project = project_of(lab_image)
    store.pull(project, project.digest)
    (store.path(project.digest) / "home/notes.txt").write_text("")  # what a crash does to a file not yet on the disk

    store.open("boot-1")
    assert store.digests() == {project.digest}
    store.open("boot-2")

    assert store.digests() == frozenset()


@pytest.fixture
def lab_image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


async def test_output_is_bounded_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "LOG_BYTES_MAX", 1000)
    log = shim.Log(str(tmp_path / "log"))

    for number in range(500):
        log.write(f"line {number}\n".encode())

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert logs.tail(logs.read_end(tmp_path / "log"), 50, []).splitlines()[-50:] == [
        f"line {number}" for number in range(450, 500)
    ]


async def test_a_workspace_that_never_stops_printing_is_not_held_up(lab: Lab) -> None:
    flood = ["sh", "-c", "yes 0123456789 & exec " + " ".join(COMMAND).replace("{home}", ".")]
    spec = await lab.started(command=flood)
    directory = lab.directory / "ship/workspaces" / spec.id

    async with asyncio.timeout(30):
        while not (directory / "log.1").exists():
            await asyncio.sleep(0.05)

    await lab.answers(spec)
    await lab.runtime.stop(spec.id, 5)
    assert sum(path.stat().st_size for path in directory.glob("log*")) <= 2 * shim.LOG_BYTES_MAX


def test_a_log_tail_is_readable_bounded_and_without_secrets(tmp_path: Path) -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----"
    text = (
        "a\x00b\r\n\x1b[1;31mred\x1b[0m hun\x00ter2-long\nprogress 1%\rprogress 2%\nMIIEvQIBADANBgkq\nab\n" + "x" * 9999
    )

    tail = logs.tail(text, 50, ["hunter2-long", "hunter2", "ab", key])

    assert tail.splitlines()[:5] == ["ab", "red [redacted]", "progress 1%", "progress 2%", "[redacted]"]
    assert len(tail.splitlines()[-1]) == logs.LINE_CHARS_MAX + 1
    assert len(logs.tail("y" * 100 + "\n" + ("z" * 1999 + "\n") * 60, 50, [])) == LOG_TAIL_CHARS_MAX
    (tmp_path / "log").write_bytes(b"s3cret" * 100_000 + b"\xff\nlast\n")
    assert logs.read_end(tmp_path / "log") == "last\n"


def test_groups_of_cgroup_v2_stand_beside_the_agents_own(tmp_path: Path) -> None:
    """On a file system of our own, which takes what is written: the kernel's is not to be had in every test run."""
    root = tmp_path / "cgroup"
    own = root / "user/agent"
    own.mkdir(parents=True)
    for group, controllers in ((root, "cpu memory pids"), (root / "user", "memory pids"), (own, "")):
        (group / "cgroup.subtree_control").write_text(controllers)
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("0::/user/agent\n")
    (proc / "mountinfo").write_text(f"31 23 0:28 / {root} rw,relatime - cgroup2 cgroup2 rw\n")

    ((_, found), (_, older)) = cgroups._candidates(proc)
    groups = Cgroups(found, "mux-1", 2)
    made = groups.create("w", Wanted(memory_bytes=1 << 20, pids=7, cpus=0.5))

    assert found == {"memory": root / "user", "pids": root / "user"}
    assert older == {}
    assert made == [root / "user/mux-1-w"]
    assert (made[0] / "memory.max").read_text() == str(1 << 20)
    assert (made[0] / "pids.max").read_text() == "7"
    assert groups.memory_group("w") == str(made[0])


def test_no_group_is_made_inside_one_that_somebody_else_manages(tmp_path: Path) -> None:
    top = {name: tmp_path / "cgroup" / name for name in ("pids", "memory")}
    (top["memory"] / "of-somebody").mkdir(parents=True)
    top["pids"].mkdir()
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("4:memory:/of-somebody\n8:pids:/\n")
    (proc / "mountinfo").write_text(
        "".join(f"31 23 0:28 / {path} rw - cgroup cgroup rw,{name}\n" for name, path in top.items())
    )

    ((_, newer), (_, found)) = cgroups._candidates(proc)

    assert (newer, found) == ({}, {"pids": top["pids"]})


@pytest.mark.parametrize("end", ["stopped", "ended by itself"])
async def test_groups_go_with_their_workspace(lab: Lab, end: str) -> None:
    spec = await lab.started()
    record = json.loads((lab.directory / "ship/workspaces" / spec.id / "workspace.json").read_text())
    groups = [Path(group) for group in record["cgroups"]]
    assert all(group.is_dir() for group in groups)

    if end == "stopped":
        await lab.runtime.stop(spec.id, 5)
    else:
        os.kill(await lab.answers(spec), signal.SIGKILL)
        await lab.exited(spec.id)

    assert not any(group.exists() for group in groups)
    remove_groups(groups)


async def test_two_directories_of_one_machine_do_not_meet(lab: Lab, tmp_path: Path) -> None:
    spec = await lab.started()
    other = ProcessRuntime(tmp_path / "other")
    await other.open()

    await other.remove(spec.id)
    await other.close()

    assert (await lab.runtime.inspect())[spec.id].state == "running"


async def test_an_image_that_is_not_the_same_any_more_is_refused(lab: Lab) -> None:
    image = lab.image()
    project = project_of(image)
    (image / "home/notes.txt").write_text("edited since")

    with pytest.raises(RuntimeFailure, match="mux apply") as changed:
        await lab.runtime.pull(project, project.digest, lambda _: None)

    assert changed.value.code == "image_changed"
    assert await lab.runtime.images() == frozenset()


async def test_a_project_of_kind_http_without_a_command_is_refused(lab: Lab) -> None:
    spec = await lab.pulled(command=[])

    with pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.start(spec)

    assert failure.value.code == "command_missing"


async def test_for_want_of_descriptors_nobody_is_taken_for_dead(lab: Lab) -> None:
    spec = await lab.started()
    shim_pid = shim_of(lab)
    mark = shim.process_mark(shim_pid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            shim.process_mark(shim_pid)
        watching = asyncio.create_task(process._ended(shim_pid, mark))
        await asyncio.sleep(0)
        assert not watching.done()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.kill(shim_pid, signal.SIGKILL)
    await watching
    assert (await lab.exited(spec.id)).exit_code == 137
