"""Which way packets of containers may go: this ship's own chains in iptables, and nothing else of the machine's.

Owns the chains ``MUX-<scope>``, and the jumps to them from INPUT, DOCKER-USER and raw PREROUTING for packets that come
in from this ship's bridges (``mx<scope>-…``). Knows addresses and policies, not containers.

Rules:
- From a bridge of ours: nothing to link-local addresses (metadata), nothing to the machine itself except answers,
  nothing to other seats, nothing to the mux; then what the policy of the source address says; an address without a
  policy gets nowhere. Capabilities are dropped inside, so an address cannot be taken on.
- The chains are replaced whole, in one transaction of iptables-restore; a jump is added when it is missing. So a sync
  can be repeated at any time, and two ships on one machine do not meet.
- Rules come before the container that they hold. Without the right to set them nothing is started.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from ship_agent.runtimes.base import RuntimeFailure

log = structlog.get_logger(__name__)

POOL = "198.18.0.0/15"
"""Where the seats' networks lie: RFC 2544's range for benchmarks, which no network that a ship is part of uses."""
LINK_LOCAL = "169.254.0.0/16"
"""RFC 3927; every cloud's metadata service lies in it."""
NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "224.0.0.0/3",
)
"""Out of reach of ``open``: private (RFC 1918), shared (RFC 6598), this host, IETF protocols (RFC 6890), multicast and
above."""
COMMAND_MAX_S = 20.0
"""How long one call of iptables may take; it waits for the lock of others up to LOCK_WAIT_S."""
LOCK_WAIT_S = 10
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Allowed:
    """One destination: an IPv4 network, and a TCP port or None for everything."""

    network: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What one address may reach.

    Args:
        address: of the container.
        public: every public address.
        allowed: further destinations.
        resolvers: name servers, port 53 only.
    """

    address: str
    public: bool
    allowed: tuple[Allowed, ...] = ()
    resolvers: tuple[str, ...] = ()


class Firewall:
    """This ship's chains.

    Args:
        scope: eight hex digits; in the names of chains and bridges.
        forbidden: addresses that no workspace reaches whatever its policy: the mux's.
    """

    def __init__(self, scope: str, forbidden: Sequence[str] = ()) -> None:
        self.bridges = f"mx{scope}-+"
        self._chain = f"MUX-{scope}"
        self._forbidden = tuple(forbidden)
        self._turn = asyncio.Lock()
        self._jumps = (
            ("raw", "PREROUTING", self._chain),
            ("filter", "INPUT", f"{self._chain}-IN"),
            ("filter", "DOCKER-USER", f"{self._chain}-OUT"),
        )

    async def check(self) -> None:
        """Raises RuntimeFailure when rules cannot be set here."""
        if shutil.which("iptables", path=SYSTEM_PATH) is None:
            raise _unable("iptables is not installed")
        code, said = await _run("iptables", "-w", str(LOCK_WAIT_S), "-t", "filter", "-S", "DOCKER-USER")
        if code != 0:
            if os.geteuid() != 0 or "ermission" in said:
                raise _unable("the agent is not root")
            raise _unable(f"Docker keeps no chain DOCKER-USER (was it started with --iptables=false?): {said}")

    async def sync(self, policies: Iterable[Policy]) -> None:
        """Have exactly these policies in force. Raises RuntimeFailure."""
        async with self._turn:
            await self._restore("iptables", _text(self._chain, self._forbidden, policies))
            for table, chain, target in self._jumps:
                await self._jump("iptables", table, chain, target)
            if has_ipv6():
                await self._restore("ip6tables", f"*raw\n:{self._chain} - [0:0]\n-A {self._chain} -j DROP\nCOMMIT\n")
                await self._jump("ip6tables", "raw", "PREROUTING", self._chain)

    async def clear(self) -> None:
        """Remove chains and jumps. What is not there is fine."""
        async with self._turn:
            for table, chain, target in self._jumps:
                await self._remove("iptables", table, chain, target)
            await self._delete("iptables", "filter", f"{self._chain}-NO")
            if has_ipv6():
                await self._remove("ip6tables", "raw", "PREROUTING", self._chain)

    async def _restore(self, program: str, text: str) -> None:
        code, said = await _run(f"{program}-restore", "-w", str(LOCK_WAIT_S), "--noflush", given=text)
        if code != 0:
            raise _unable(said)

    async def _jump(self, program: str, table: str, chain: str, target: str) -> None:
        rule = ["-i", self.bridges, "-j", target]
        start = [program, "-w", str(LOCK_WAIT_S), "-t", table]
        code, _ = await _run(*start, "-C", chain, *rule)
        if code != 0:
            code, said = await _run(*start, "-I", chain, "1", *rule)
            if code != 0:
                raise _unable(said)

    async def _remove(self, program: str, table: str, chain: str, target: str) -> None:
        start = [program, "-w", str(LOCK_WAIT_S), "-t", table]
        while (await _run(*start, "-D", chain, "-i", self.bridges, "-j", target))[0] == 0:
            pass
        await self._delete(program, table, target)

    async def _delete(self, program: str, table: str, chain: str) -> None:
        for action in ("-F", "-X"):
            await _run(program, "-w", str(LOCK_WAIT_S), "-t", table, action, chain)


def has_ipv6() -> bool:
    """Whether this machine's kernel has IPv6."""
    return Path("/proc/sys/net/ipv6").is_dir()


def _text(chain: str, forbidden: Sequence[str], policies: Iterable[Policy]) -> str:
    """The chains' whole content, as iptables-restore reads it."""
    inward, outward, refused = f"{chain}-IN", f"{chain}-OUT", f"{chain}-NO"
    lines = [
        "*raw",
        f":{chain} - [0:0]",
        # Before any translation of addresses, and whether it would be forwarded or is the machine's own.
        f"-A {chain} -d {LINK_LOCAL} -j DROP",
        "COMMIT",
        "*filter",
        f":{inward} - [0:0]",
        f":{outward} - [0:0]",
        f":{refused} - [0:0]",
        # Refused, not dropped: what may not be reached should say so at once. By TCP itself, since the kernel sends a
        # few ICMP messages a second to one address and no more.
        f"-A {refused} -p tcp -j REJECT --reject-with tcp-reset",
        f"-A {refused} -j REJECT",
        f"-A {inward} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"-A {inward} -j {refused}",
        f"-A {outward} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        *(f"-A {outward} -d {network} -j {refused}" for network in (LINK_LOCAL, POOL, *forbidden)),
    ]
    for policy in policies:
        source = f"-A {outward} -s {policy.address}/32"
        for resolver in policy.resolvers:
            lines += [f"{source} -d {resolver}/32 -p {kind} --dport 53 -j RETURN" for kind in ("udp", "tcp")]
        for allowed in policy.allowed:
            port = "" if allowed.port is None else f" -p tcp --dport {allowed.port}"
            lines.append(f"{source} -d {allowed.network}{port} -j RETURN")
        if policy.public:
            lines += [f"{source} -d {network} -j {refused}" for network in NOT_PUBLIC]
            lines.append(f"{source} -j RETURN")
    return "\n".join([*lines, f"-A {outward} -j {refused}", "COMMIT", ""])


def _unable(why: str) -> RuntimeFailure:
    return RuntimeFailure(
        "no_firewall",
        f"network rules cannot be set, so no workspace is started: {why[:200]}; run the agent as root on a machine "
        "with iptables",
        retryable=True,
    )


async def _run(*command: str, given: str = "") -> tuple[int, str]:
    """Exit code, and the first line of errors."""
    environment: Mapping[str, str] = {"PATH": SYSTEM_PATH, "LANG": "C"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    try:
        async with asyncio.timeout(COMMAND_MAX_S):
            _, errors = await process.communicate(given.encode())
    except TimeoutError:
        return 124, f"{command[0]} did not end in time"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, errors.decode("utf-8", "replace").strip().partition("\n")[0]
