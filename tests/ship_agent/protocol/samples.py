"""Messages that are complete and ordinary, for tests to alter."""

from __future__ import annotations

from typing import Any

from ship_agent.protocol.messages import (
    Desired,
    Hello,
    Observed,
    ObservedWorkspace,
    Project,
    Resources,
    Workspace,
)

DIGEST = "sha256:" + "0" * 64

PROJECT = Project(
    name="intro",
    image="images/intro",
    digest=DIGEST,
    kind="jupyter",
    port=8888,
    command=["jupyter", "lab"],
    environment={"LEVEL": "one"},
    memory_bytes=1 << 30,
    cpus=1.0,
    pids=512,
    shm_bytes=64 << 20,
    base_path="/camp/intro/",
    health_path="api",
)
WORKSPACE = Workspace(
    id="ship-0001.0.intro.1",
    seat=0,
    project="intro",
    digest=DIGEST,
    port=20_000,
    wanted="warm",
    token="the-workspace-token",
    secrets={"API_KEY": "the-api-key"},
    epoch=0,
    receipt="",
)
OBSERVED_WORKSPACE = ObservedWorkspace(id=WORKSPACE.id, seat=0, project="intro", digest=DIGEST, state="healthy")
RESOURCES = Resources(
    cpus=2,
    load_1m=0.5,
    memory_total_bytes=8 << 30,
    memory_available_bytes=4 << 30,
    disk_total_bytes=100 << 30,
    disk_free_bytes=50 << 30,
)
HELLO = Hello(
    ship="ship-0001",
    boot="boot-1",
    public_key="a" * 64,
    join_token="the-join-token",
    signature="b" * 128,
    agent_version="0.1.0",
    runtime="process",
)


def desired(generation: int = 1, **fields: Any) -> Desired:
    """One project, one warm workspace."""
    return Desired(**{"generation": generation, "projects": [PROJECT], "workspaces": [WORKSPACE], **fields})


def observed(generation: int = 1, **fields: Any) -> Observed:
    """One healthy workspace. The link sets ``seq``."""
    given = {
        "seq": 0,
        "generation": generation,
        "phase": "ready",
        "resources": RESOURCES,
        "limits": ["pids"],
        "limits_missing": ["memory"],
        "workspaces": [OBSERVED_WORKSPACE],
    }
    return Observed(**{**given, **fields})
