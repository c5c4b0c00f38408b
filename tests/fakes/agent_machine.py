"""A machine in one process, for `tests.fakes.agents`: it boots as one does, and is its ship agent from then on.

At its first boot it runs its user-data, as cloud-init would, for a root of its own. At every boot it makes the join
information as ``ship-agent join`` does, and then is ``ship-agent run``. Three things are changed, for want of what a
machine has: workspaces are processes, the metadata service is where it is really served, and the mux's name leads to
an address of this machine.

usage: agent_machine.py DISK METADATA_URL MUX_AT
"""

from __future__ import annotations

import gzip
import json
import socket
import sys
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ship_agent import cli
from ship_agent.join import join_of_boot, write_join

ANSWER_S_MAX = 60.0
TOKEN_S = 600


def main(disk: Path, metadata_url: str, mux_at: str) -> None:
    """Boot, and be the agent."""
    launch, state = disk / "etc/mux-ship/launch.json", disk / "var/lib/mux-ship"
    if not launch.exists():
        run_user_data(asked(metadata_url, "user-data"), disk)
    address = asked(metadata_url, "meta-data/local-ipv4").decode()
    join = join_of_boot(launch, str(uuid.uuid4()), lambda _control_url: address)
    write_join(state / "join.json", replace(join, runtime="process", metadata_url=metadata_url))
    lead(str(urlsplit(join.control_url).hostname), mux_at)
    sys.argv = ["ship-agent", "run", "--dir", str(state)]
    cli.main()


def asked(url: str, path: str) -> bytes:
    """One answer of the metadata service, version 2."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
    with opener.open(
        urllib.request.Request(f"{url}/latest/api/token", headers=ttl, method="PUT"), None, ANSWER_S_MAX
    ) as answer:
        token = {"X-aws-ec2-metadata-token": answer.read().decode()}
    with opener.open(urllib.request.Request(f"{url}/latest/{path}", headers=token), None, ANSWER_S_MAX) as answer:
        found: bytes = answer.read()
        return found


def run_user_data(content: bytes, root: Path) -> None:
    """Run the script, but for another root than this machine's: its last line calls `main` for that."""
    script, _, last = gzip.decompress(content).decode().rstrip("\n").rpartition("\n")
    stub: dict[str, Any] = {"__name__": "user_data"}
    exec(compile(script, "user-data", "exec"), stub)
    exec(last, {"json": json, "main": lambda launch: stub["main"](launch, root)})


def lead(name: str, address: str) -> None:
    """Have a name lead to an address, as a line in ``/etc/hosts`` would."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        return real(address if host == name else host, *rest, **more)

    socket.getaddrinfo = getaddrinfo


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
