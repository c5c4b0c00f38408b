"""How long a machine takes to become a ship, phase by phase, with the agent in its image and without it.

Writes bench/results/boot.json and boot.svg, which docs/how-to/make-a-ship-image.md shows. Nothing is asserted of times.
"""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime

import pytest

from bench.boot.plot import plot
from bench.machine import commit
from tests.docker_engine import ROOT, Engine
from tests.machines.rig import Harbour, Inside, harbour

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]
RESULTS = ROOT / "bench" / "results"
KINDS = {"agent in the image": Inside.AGENT, "agent from the mux": Inside.ENGINE}
PHASES = {
    "systemd and cloud-init, until user-data runs": "user-data",
    "user-data: the agent is found or fetched": "units",
    "the agent starts and joins": "linked",
    "the image is pulled": "pulled",
    "the workspace starts and answers": "ready",
}


async def moments(fleet: Harbour) -> dict[str, float]:
    """When what happened, in seconds since the epoch; call it once the ship is ready."""
    identity = await fleet.machine()
    (inspected,) = json.loads(fleet.machines_engine.run_docker("inspect", identity))
    journal = await fleet.inside("journalctl", "--no-pager", "--output", "cat", "--unit", "mux-ship")
    lines = [json.loads(line) for line in journal.splitlines() if line.startswith("{")]

    async def written(path: str) -> float:
        return float(await fleet.inside("stat", "--format", "%.9Y", path))

    def logged(event: str) -> float:
        line = next(line for line in lines if line["event"] == event)
        return datetime.fromisoformat(line["timestamp"]).timestamp()

    return {
        "launch": datetime.fromisoformat(inspected["Created"][:26] + "+00:00").timestamp(),
        "user-data": await written("/etc/mux-ship/launch.json"),
        "units": await written("/var/lib/mux-ship/join.json"),
        "linked": logged("linked"),
        "pulled": logged("image pulled"),
    }


@pytest.mark.asyncio(loop_scope="session")
async def test_a_boot_is_measured_phase_by_phase(docker_engine: Engine) -> None:
    boots: dict[str, dict[str, float]] = {}
    for kind, inside in KINDS.items():
        async with harbour(docker_engine, inside) as fleet:
            await fleet.warm()
            ready = datetime.now(UTC).timestamp()
            if inside is Inside.ENGINE:
                assert "fetching the agent from the mux" in await fleet.inside("cat", "/var/log/cloud-init-output.log")
            at = await moments(fleet) | {"ready": ready}
        edges = [at["launch"], *(at[edge] for edge in PHASES.values())]
        assert edges == sorted(edges), "phases follow each other"
        boots[kind] = {name: round(edges[i + 1] - edges[i], 2) for i, name in enumerate(PHASES)}
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": f"{platform.machine()}, {platform.system()}, a container for the machine",
        "seconds": boots,
    }
    (RESULTS / "boot.json").write_text(json.dumps(found, indent=2) + "\n")
    (RESULTS / "boot.svg").write_text(plot(boots))
