"""What belongs to the runtime docker alone: what a container may, what it reaches, how its ends are told."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from aiodocker.exceptions import DockerError

from ship_agent.runtimes import docker_firewall
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from tests.docker_engine import Engine
from tests.parts import require
from tests.ship_agent.images import free_port
from tests.ship_agent.runtimes.conftest import opened
from tests.ship_agent.runtimes.docker_lab import DockerLab

METADATA = "169.254.169.254"
METADATA_V6 = "fd00:ec2::254"
PUBLIC = "203.0.113.10"
"""Of TEST-NET-3 (RFC 5737): stands for the internet."""
PRIVATE = "10.254.77.10"
MUX = "203.0.113.20"
"""As public as the other, and the mux's: out of reach of every workspace."""
PORT = 8099


@pytest.fixture
async def lab(docker_engine: Engine, tmp_path: Path) -> AsyncIterator[DockerLab]:
    """A lab; at the end neither containers, networks, volumes nor rules of it are left."""
    lab = DockerLab(tmp_path, docker_engine, forbidden=[MUX])
    async with opened(lab):
        yield lab
    assert rules_of(lab) == []


def rules_of(lab: DockerLab) -> list[str]:
    """Lines of every table that bear the mark of a lab's ship."""
    found = []
    for program, table in (("iptables", "filter"), ("iptables", "raw"), ("ip6tables", "raw")):
        listed = subprocess.run([program, "-w", "-t", table, "-S"], capture_output=True, text=True, check=False)
        found += [line for line in listed.stdout.splitlines() if lab.scope in line]
    return found


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def outside() -> Iterator[None]:
    """A machine beyond this one with a public and a private address, and listeners where a cloud has its metadata."""
    name = "mux-outside"
    with contextlib.ExitStack() as stack:
        # One at a time on a machine: tests of several workers would take each other's addresses away.
        lock = stack.enter_context(Path("/run/mux-tests-outside.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        ip("netns", "add", name)
        stack.callback(ip, "netns", "delete", name)
        ip("link", "add", "mux-out0", "type", "veth", "peer", "name", "mux-out1", "netns", name)
        for address in ("203.0.113.1/24", "10.254.77.1/24"):
            ip("address", "add", address, "dev", "mux-out0")
        ip("link", "set", "mux-out0", "up")
        for address in (f"{PUBLIC}/24", f"{MUX}/24", f"{PRIVATE}/24"):
            ip("-n", name, "address", "add", address, "dev", "mux-out1")
        ip("-n", name, "link", "set", "mux-out1", "up")
        server = [sys.executable, "-m", "http.server", str(PORT), "--bind", "0.0.0.0"]
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, *server], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        for address in (f"{METADATA}/32", f"{METADATA_V6}/128"):
            ip("address", "replace", address, "dev", "lo", *(["nodad"] if ":" in address else []))
            stack.callback(ip, "address", "delete", address, "dev", "lo")
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, METADATA_V6)):
            stack.enter_context(socket.create_server((address, PORT), family=family))
        for _ in range(1000):
            try:
                socket.create_connection((PUBLIC, PORT), 1).close()
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)  # the server of the other machine says nothing when it is there
            else:
                break
        yield


async def reach(lab: DockerLab, spec: WorkspaceSpec, host: str, port: int = PORT) -> str:
    answer: str = await lab.ask(spec, "connect", host=host, port=str(port))
    return answer


def listening() -> list[int]:
    """TCP ports of this machine on which somebody listens for IPv4."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sorted({int(line.split()[1].rpartition(":")[2], 16) for line in lines if line.split()[3] == "0A"})


async def test_a_scan_from_inside_finds_neither_metadata_nor_mux_nor_ship_nor_neighbours(
    lab: DockerLab, outside: None
) -> None:
    """The listeners are there: this machine itself reaches every one of them."""
    spec = await lab.started()
    neighbour = lab.spec(spec.project, "ship-1.1.intro.1", seat=1)
    other = spec.project.model_copy(update={"name": "other", "base_path": "/camp/other/"})
    sibling = lab.spec(other, "ship-1.0.other.2")
    for each in (neighbour, sibling):
        await lab.runtime.start(each)
        await lab.answers(each)
    networks = [(await lab.container(each))["NetworkSettings"]["Networks"] for each in (spec, neighbour, sibling)]
    (mine,), (theirs,), (also_mine,) = (list(network.values()) for network in networks)
    with contextlib.ExitStack() as stack:
        control, admin = (stack.enter_context(socket.create_server(("0.0.0.0", 0))).getsockname()[1] for _ in "12")
        of_the_ship = listening()
        assert {PORT, control, admin, neighbour.port, sibling.port} <= {*of_the_ship}
        places = {
            "metadata": (METADATA, [80, PORT]),
            "metadata by IPv6": (METADATA_V6, [80, PORT]),
            "the ship at the gateway, a mux's control and admin on it": (
                mine["Gateway"],
                [*range(1, 1025), *of_the_ship],
            ),
            "the ship at its own address": ("203.0.113.1", of_the_ship),
            "the neighbour": (theirs["IPAddress"], [8888]),
            "another project of the same attendee": (also_mine["IPAddress"], [8888]),
            "the neighbour's gateway": (theirs["Gateway"], of_the_ship),
            "the mux on another machine, though at a public address": (MUX, [PORT]),
            "a private network": (PRIVATE, [PORT]),
        }
        reached = [(METADATA, PORT), (METADATA_V6, PORT), (mine["Gateway"], PORT), (theirs["Gateway"], admin)]
        reached += [(theirs["IPAddress"], 8888), (also_mine["IPAddress"], 8888), (MUX, PORT), (PRIVATE, PORT)]
        for host, port in reached:
            socket.create_connection((host, port), 5).close()

        found = {what: await scan(lab, spec, *place) for what, place in places.items()}

    assert [(what, ports) for what, ports in found.items() if ports] == []
    assert await scan(lab, spec, PUBLIC, [PORT]) == [PORT]


async def scan(lab: DockerLab, spec: WorkspaceSpec, host: str, ports: Sequence[int]) -> list[int]:
    """Those of a host's TCP ports that a workspace can connect to."""
    found: list[int] = await lab.ask(spec, "scan", host=host, ports=",".join(map(str, ports)))
    return found


async def test_egress_none_reaches_nothing_and_a_list_what_it_names(lab: DockerLab, outside: None) -> None:
    closed = await lab.started(egress="none")
    listed = replace(
        lab.spec(closed.project.model_copy(update={"egress": [f"{PRIVATE}:{PORT}", f"{METADATA}/32"]}), "ship-1.1.b.1"),
        seat=1,
    )
    await lab.runtime.start(listed)
    await lab.answers(listed)

    assert await reach(lab, closed, PUBLIC) == "ConnectionRefusedError"
    assert await reach(lab, closed, "example.org") == "gaierror"
    assert await reach(lab, listed, PRIVATE) == "connected"
    assert await reach(lab, listed, PRIVATE, PORT + 1) == "ConnectionRefusedError"
    assert await reach(lab, listed, PUBLIC) == "ConnectionRefusedError"
    assert await reach(lab, listed, METADATA) == "TimeoutError"


async def test_a_listed_name_is_found_and_no_other(lab: DockerLab) -> None:
    spec = await lab.started(egress=["localhost:1"])

    assert "127.0.0.1\tlocalhost" in (await lab.ask(spec, "read", name="/etc/hosts"))
    assert await reach(lab, spec, "example.org") == "gaierror"


async def test_rules_are_there_as_long_as_a_workspace_runs_and_return_with_the_next_agent(lab: DockerLab) -> None:
    spec = await lab.started()
    before = rules_of(lab)
    for command in (["-F", f"MUX-{lab.scope}-OUT"], ["-D", "INPUT", "1"]):
        subprocess.run(["iptables", "-w", *command], check=True)
    assert rules_of(lab) != before

    await lab.again()

    assert sorted(rules_of(lab)) == sorted(before)
    await lab.runtime.stop(spec.id, 1)
    assert rules_of(lab) == []
    assert lab.left_over() == []


async def test_without_the_means_to_set_rules_nothing_is_started(
    lab: DockerLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(docker_firewall, "SYSTEM_PATH", str(tmp_path))

    with pytest.raises(RuntimeFailure) as failure:
        await lab.again()

    assert failure.value.code == "no_firewall"
    monkeypatch.undo()
    await lab.runtime.open()


async def test_what_every_container_is_held_to_is_seen_from_inside(lab: DockerLab) -> None:
    spec = await lab.started()

    status = dict(
        line.split(":\t", 1)
        for line in (await lab.ask(spec, "read", name="/proc/self/status")).splitlines()
        if ":\t" in line
    )
    uid, gid, shm_bytes = await lab.ask(spec, "who")

    assert [status[f"Cap{kind}"].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [""] * 5
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    assert (uid, gid, shm_bytes) == (1000, 100, 64 << 20)
    assert await limits_inside(lab, spec) == {"memory": 256 << 20, "pids": 64, "cpus": 1.0}


async def limits_inside(lab: DockerLab, spec: WorkspaceSpec) -> dict[str, float]:
    """What the kernel's groups say inside a container, of version 2 or 1."""
    counts_swap = lab.engine.ask("GET", "/info")["SwapLimit"]

    async def read(name: str) -> list[str]:
        return str(await lab.ask(spec, "read", name=f"/sys/fs/cgroup/{name}")).split()

    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        (memory,), (pids,) = [await read(f"{name}.max") for name in ("memory", "pids")]
        quota, period = await read("cpu.max")
        assert not counts_swap or await read("memory.swap.max") == ["0"]
    else:
        (memory,), (pids,) = await read("memory/memory.limit_in_bytes"), await read("pids/pids.max")
        (quota,), (period,) = [await read(f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
        # Memory and swap together may be no more than memory alone: there is no swap.
        assert not counts_swap or await read("memory/memory.memsw.limit_in_bytes") == [memory]
    return {"memory": int(memory), "pids": int(pids), "cpus": int(quota) / int(period)}


async def test_labels_say_whose_a_container_is(lab: DockerLab) -> None:
    spec = await lab.started()

    labels = (await lab.container(spec))["Config"]["Labels"]

    assert {name: labels[f"mux.{name}"] for name in ("event", "ship", "seat", "project", "epoch", "workspace")} == {
        "event": "camp",
        "ship": "ship-1",
        "seat": "0",
        "project": "intro",
        "epoch": "0",
        "workspace": spec.id,
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"user": "root"}, "root_refused"),
        ({"shm_bytes": 65 << 20}, "shm_refused"),
        ({"allow": ["host_network"], "egress": "none"}, "egress_refused"),
        ({"oci_runtime": "no-such-runtime"}, "oci_runtime_missing"),
    ],
)
async def test_what_is_not_allowed_is_refused_and_leaves_nothing(
    lab: DockerLab, changes: dict[str, object], code: str
) -> None:
    spec = await lab.pulled(**changes)

    with pytest.raises(RuntimeFailure) as failure:
        await lab.runtime.start(spec)

    assert (failure.value.code, failure.value.retryable) == (code, False)
    assert lab.left_over() == []


async def test_what_is_allowed_is_given_and_no_more(lab: DockerLab) -> None:
    spec = await lab.started(user="root", allow=["root", "shm", "CAP_NET_RAW"], shm_bytes=96 << 20, oci_runtime="runc")

    uid, _, shm_bytes = await lab.ask(spec, "who")
    config = (await lab.container(spec))["HostConfig"]

    assert (uid, shm_bytes) == (0, 96 << 20)
    assert sorted(config["CapAdd"]) == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_RAW", "SETGID", "SETUID"]
    assert config["Runtime"] == "runc"
    assert not any(mount["Destination"].endswith("docker.sock") for mount in (await lab.container(spec))["Mounts"])


async def test_the_ships_network_and_socket_are_given_only_if_allowed(lab: DockerLab) -> None:
    spec = await lab.started(allow=["host_network", "docker_socket"], environment={"HOST": "127.0.0.1"})

    found = await lab.container(spec)

    assert found["HostConfig"]["NetworkMode"] == "host"
    assert "/var/run/docker.sock" in {mount["Destination"] for mount in found["Mounts"]}
    assert rules_of(lab) == []


@pytest.mark.parametrize(
    ("label", "setting", "code"), [("true", "auto", 404), ("", "auto", 200), ("", "read_only", 404)]
)
async def test_the_root_is_read_only_where_image_or_project_say_so(
    lab: DockerLab, label: str, setting: str, code: int
) -> None:
    opened_up = """RUN ["python3", "-c", "import os; os.chmod('/usr/local/bin', 0o777)"]"""
    spec = await lab.started(dockerfile=f"LABEL mux.read-only={label or 'no'}\n{opened_up}", root_filesystem=setting)
    for place in ("/tmp/x", "mine.txt"):
        await lab.ask(spec, "write", name=place, text="kept")

    with contextlib.suppress(Exception):
        await lab.ask(spec, "write", name="/usr/local/bin/new", text="kept")

    written = (await lab.container(spec))["HostConfig"]["ReadonlyRootfs"]
    assert written is (code == 404)
    with contextlib.ExitStack() as stack:
        if code == 404:
            stack.enter_context(pytest.raises(Exception, match="404"))
        await lab.ask(spec, "read", name="/usr/local/bin/new")


async def test_a_kill_for_memory_is_told_as_such(lab: DockerLab) -> None:
    spec = await lab.started(memory_bytes=64 << 20)

    with contextlib.suppress(Exception):
        await lab.ask(spec, "eat", n=str(256 << 20))

    ended = await lab.exited(spec.id)
    assert (ended.failure, ended.exit_code) == ("oom", 137)
    assert ended.memory_kills == 0, "it has not gone on"


async def test_a_kernel_that_is_killed_for_memory_is_counted_and_blamed_for_no_later_end(lab: DockerLab) -> None:
    spec = await lab.started(memory_bytes=64 << 20)

    assert await lab.ask(spec, "eat_in_a_child", n=str(256 << 20)) == -signal.SIGKILL
    async with asyncio.timeout(30):
        while (await lab.runtime.inspect())[spec.id].memory_kills != 1:
            await asyncio.sleep(0.05)
    assert (await lab.runtime.inspect())[spec.id].state == "running"


async def test_a_hook_that_fails_while_the_image_goes_on_ends_the_start(lab: DockerLab) -> None:
    hooks = {"10-fine.sh": "true", "20-broken.sh": "echo no such data; exit 4"}
    spec = await lab.pulled(hooks=hooks, environment={"HOOKS_GO_ON": "1"})

    await lab.runtime.start(spec)
    ended = await lab.exited(spec.id)

    assert ended.failure == "hook_failed"
    assert "20-broken.sh" in ended.detail
    assert "no such data" in await lab.runtime.log_tail(spec.id, 50)


async def test_a_failed_hook_is_noticed_even_if_its_line_is_overtaken(lab: DockerLab) -> None:
    """Stdout and stderr come by different ways: "Executing the command" may be read first."""
    late = "echo /usr/local/bin/start-notebook.d/9-late.sh has failed, continuing execution >&2; exec sleep 60"
    spec = await lab.pulled(command=["sh", "-c", late])

    await lab.runtime.start(spec)

    assert "9-late.sh" in (await lab.exited(spec.id)).detail


async def test_a_full_disk_is_told_as_such(lab: DockerLab) -> None:
    spec = await lab.pulled(command=["sh", "-c", "echo 'OSError: [Errno 28] No space left on device'; exit 1"])

    await lab.runtime.start(spec)

    assert (await lab.exited(spec.id)).failure == "disk_full"


async def test_somebody_elses_restart_and_removal_are_noticed(lab: DockerLab) -> None:
    spec = await lab.started()
    container = lab.docker.containers.container(f"mux-{lab.scope}-{spec.id}")

    await container.restart(timeout=1)
    async with asyncio.timeout(60):
        while (await lab.runtime.inspect())[spec.id].starts < 2:
            await anext(lab.runtime.changes())
    await container.delete(force=True)
    ended = await lab.exited(spec.id)

    assert (ended.failure, ended.exit_code) == ("exited", 137)


async def test_what_a_killed_agent_left_half_made_is_cleared(lab: DockerLab) -> None:
    spec = await lab.started()
    labels = {"mux.scope": lab.scope, "mux.role": "workspace", "mux.workspace": "never-kept", "mux.seat": "7"}
    await lab.docker.containers.create({"Image": spec.digest, "Labels": labels}, name="mux-test-half-made")
    await lab.docker.networks.create({"Name": f"mux-{lab.scope}-7", "Labels": labels})
    await lab.docker.volumes.create({"Name": "mux-test-half-made", "Labels": labels})

    await lab.again()

    assert sorted(name for name in lab.left_over() if "half" in name or name.endswith("-7")) == []
    assert len(lab.left_over()) == 2


async def test_an_image_that_was_found_here_is_let_go_of_but_never_deleted(lab: DockerLab) -> None:
    project = await lab.project()
    await lab.runtime.pull(project, project.digest, lambda _: None)

    await lab.runtime.forget_image(project.digest)

    assert await lab.runtime.images() == frozenset()
    assert (await lab.docker.images.inspect(project.digest))["Id"] == project.digest


async def test_files_keep_owner_and_content_of_the_image(lab: DockerLab) -> None:
    spec = await lab.started(text="from the image")

    home = lab.directory / "ship/containers" / spec.id / "home"

    assert (home / "notes.txt").read_text() == "from the image"
    assert ((home / "notes.txt").stat().st_uid, (home / "notes.txt").stat().st_gid) == (1000, 100)


async def test_first_files_may_lie_elsewhere_in_the_image_and_go_with_it(lab: DockerLab) -> None:
    elsewhere = "COPY --chown=1000:100 home /opt/content\nENV HOME=/home/other\nLABEL mux.content=/opt/content"
    spec = await lab.started(text="from elsewhere", dockerfile=elsewhere)
    contents = lab.directory / "ship/contents"

    assert await lab.ask(spec, "read", name="/home/other/notes.txt") == "from elsewhere"
    assert [path.read_text() for path in contents.glob("*/notes.txt")] == ["from elsewhere"]
    await lab.runtime.remove(spec.id)
    await lab.runtime.forget_image(spec.digest)
    assert [path.name for path in contents.iterdir()] == [".boot"]


async def test_neither_token_nor_secret_is_in_arguments_or_labels(lab: DockerLab) -> None:
    spec = replace(await lab.started(), secrets={"KEY": "a-secret-value"})
    await lab.runtime.stop(spec.id, 1)
    await lab.runtime.start(spec)
    await lab.answers(spec)

    found = await lab.container(spec)

    shown = str([found["Config"]["Labels"], found["Config"]["Cmd"], found["Path"], found["Args"], found["Name"]])
    assert spec.token not in shown
    assert "a-secret-value" not in shown


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry of this machine; its host and port."""
    program = require("docker-registry", "as root on Debian: tools/setup docker")
    host = f"127.0.0.1:{free_port()}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\nhttp: {{addr: '{host}'}}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(1000):
            assert process.poll() is None, (tmp_path / "registry.log").read_text()
            with contextlib.suppress(OSError):
                socket.create_connection((host.partition(":")[0], int(host.partition(":")[2])), 1).close()
                break
            time.sleep(0.05)  # it says nothing when it is there
        yield host
    finally:
        process.kill()
        process.wait()


async def test_an_image_is_fetched_by_digest_layer_by_layer_and_deleted_when_nothing_needs_it(
    lab: DockerLab, registry: str
) -> None:
    project = await lab.project(text=f"only in {registry}")
    name = f"{registry}/camp/intro"
    await lab.docker.images.tag(project.digest, name, tag="1")
    digest = next(
        line["aux"]["Digest"] for line in await lab.docker.images.push(name, tag="1") if "Digest" in line.get("aux", {})
    )
    for reference in (f"{name}:1", project.image):
        await lab.docker.images.delete(reference, force=True)
    wanted = project.model_copy(update={"image": f"{name}:1", "digest": digest})
    said: list[str] = []

    await lab.runtime.pull(wanted, digest, said.append)

    assert await lab.runtime.images() == {digest}
    assert re.fullmatch(r"pulling intro: (\d+) of \1 layers", said[-1]), said
    spec = lab.spec(wanted)
    await lab.runtime.start(spec)
    await lab.answers(spec)
    await lab.runtime.remove(spec.id)
    await lab.runtime.forget_image(digest)
    with pytest.raises(DockerError):
        await lab.docker.images.inspect(f"{name}@{digest}")
    with pytest.raises(RuntimeFailure) as missing:
        await lab.runtime.pull(wanted, f"sha256:{'0' * 64}", said.append)
    assert (missing.value.code, missing.value.retryable) == ("image_missing", False)
