"""Section 5 of docker-bench-security, rule by rule, by what the engine says of workspaces that run in it.

What is not a property of a container is argued in docs/decisions/003, which names the tests of the others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ship_agent.runtimes.docker_spec import ROOT_CAPABILITIES
from tests.docker_engine import ROOT, Engine
from tests.ship_agent.runtimes.conftest import opened
from tests.ship_agent.runtimes.docker_lab import DockerLab

DECISION = ROOT / "docs/decisions/003-container-hardening.md"

Inspected = Mapping[str, Any]


def host(found: Inspected) -> Mapping[str, Any]:
    config: Mapping[str, Any] = found["HostConfig"]
    return config


def ports(found: Inspected) -> list[Mapping[str, str]]:
    return [binding for bindings in found["NetworkSettings"]["Ports"].values() for binding in bindings or ()]


RULES: Mapping[str, Callable[[Inspected], bool]] = {
    "5.1": lambda found: found["AppArmorProfile"] != "unconfined" and "apparmor" not in str(host(found)["SecurityOpt"]),
    "5.2": lambda found: "label" not in str(host(found)["SecurityOpt"]),
    "5.3": lambda found: host(found)["CapDrop"] == ["ALL"] and set(host(found)["CapAdd"] or ()) <= {*ROOT_CAPABILITIES},
    "5.4": lambda found: host(found)["Privileged"] is False,
    "5.5": lambda found: [mount["Source"].endswith("/home") for mount in found["Mounts"]] == [True],
    "5.7": lambda found: all(int(port["HostPort"]) >= 1024 for port in ports(found)),
    "5.8": lambda found: len(ports(found)) == 1 and not host(found)["PublishAllPorts"],
    "5.9": lambda found: host(found)["NetworkMode"] != "host",
    "5.10": lambda found: 0 < host(found)["Memory"] == host(found)["MemorySwap"],
    "5.11": lambda found: host(found)["NanoCpus"] > 0,
    "5.13": lambda found: {port["HostIp"] for port in ports(found)} == {"127.0.0.1"},
    "5.14": lambda found: host(found)["RestartPolicy"]["Name"] == "no",
    "5.15": lambda found: host(found)["PidMode"] == "",
    "5.16": lambda found: host(found)["IpcMode"] == "private",
    "5.17": lambda found: not any(host(found).get(key) for key in ("Devices", "DeviceRequests", "DeviceCgroupRules")),
    "5.18": lambda found: {limit["Name"] for limit in host(found)["Ulimits"]} == {"nofile", "core"},
    "5.19": lambda found: {mount["Propagation"] for mount in found["Mounts"]} == {"rprivate"},
    "5.20": lambda found: host(found)["UTSMode"] == "",
    "5.21": lambda found: "seccomp" not in str(host(found)["SecurityOpt"]),
    "5.22": lambda found: not found["ExecIDs"],
    "5.23": lambda found: not found["ExecIDs"],
    "5.24": lambda found: host(found)["CgroupParent"] == "",
    "5.25": lambda found: "no-new-privileges" in host(found)["SecurityOpt"],
    "5.26": lambda found: found["Config"]["Healthcheck"]["Test"] == ["NONE"],
    "5.27": lambda found: found["Config"]["Image"] == found["Image"],
    "5.28": lambda found: host(found)["PidsLimit"] > 0,
    "5.29": lambda found: set(found["NetworkSettings"]["Networks"]).isdisjoint({"bridge", "default"}),
    "5.30": lambda found: host(found)["UsernsMode"] == "",
    "5.31": lambda found: "docker.sock" not in str(found["Mounts"]),
}
ELSEWHERE = {
    "5.12": "test_docker.py::test_the_root_is_read_only_where_image_or_project_say_so",
}
ARGUED = {"5.2", "5.6"}
"""The first with a test that nothing of ours turns the engine's labels off."""


@pytest.fixture(scope="module")
def containers(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Inspected]]:
    """What the engine says of two workspaces that run: an ordinary one, and one that is allowed to start as root."""

    async def look() -> Mapping[str, Inspected]:
        lab = DockerLab(tmp_path_factory.mktemp("rules"), docker_engine)
        async with opened(lab):
            plain = await lab.started()
            root = lab.spec(await lab.project(user="root", allow=["root"]), "ship-1.1.root.1", seat=1)
            await lab.runtime.pull(root.project, root.digest, lambda _: None)
            await lab.runtime.start(root)
            await lab.answers(root)
            return {"plain": await lab.container(plain), "root": await lab.container(root)}

    yield asyncio.run(look())


@pytest.mark.parametrize("allowed", ["plain", "root"])
@pytest.mark.parametrize("rule", RULES)
def test_a_workspace_keeps_the_rule(containers: Mapping[str, Inspected], rule: str, allowed: str) -> None:
    assert RULES[rule](containers[allowed])


def test_every_rule_is_met_by_a_named_test_or_argued() -> None:
    rows = re.findall(r"^\| (5\.\d+) [^|]*\| ([^|]+) \|$", DECISION.read_text(encoding="utf-8"), re.MULTILINE)
    assert [rule for rule, _ in rows] == [f"5.{number}" for number in range(1, 32)]
    assert {rule for rule, text in rows if text.startswith("met")} == {*RULES, *ELSEWHERE} - ARGUED
    assert {rule for rule, text in rows if text.startswith("argued")} == ARGUED
    for rule, test in ELSEWHERE.items():
        module, _, name = test.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / module).read_text(encoding="utf-8")
        assert name in dict(rows)[rule]
