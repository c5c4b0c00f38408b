"""Two network namespaces joined by one cable: the mux in one, a ship in the other, and rules that cut what is between.

Both sides believe that the other one is on loopback, as the `local` provider has it: addresses are translated on the
way out and on the way in. So nothing of the mux or the agent knows that there is a cable. Nothing outside the
namespaces is touched, and whatever is in them goes with them.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from tests.parts import missing, require

Cut = Literal["link", "path", "both"]
"""What is cut: the ship's link to the mux, the attendees' way to the workspaces, or the whole cable."""

MUX_ADDRESS, SHIP_ADDRESS = "192.0.2.1", "192.0.2.2"
"""RFC 5737: documentation. They are not to be met anywhere else."""
CLONE_NEWNET = 0x40000000


class Network:
    """The namespaces and their cable.

    Args:
        control: TCP port of the control listener.
    """

    def __init__(self, control: int) -> None:
        self.mux, self.ship, self._cable = (f"mux-{secrets.token_hex(4)}" for _ in range(3))
        self._control = str(control)
        self._ports = ""
        self._drops: list[tuple[str, tuple[str, ...]]] = []
        self._inside = ThreadPoolExecutor(1, thread_name_prefix=self.mux, initializer=self._enter)

    def __enter__(self) -> Network:
        for program in ("ip", "iptables", "nsenter"):
            require(program, "run `make docker` as root")
        if os.geteuid() != 0:
            missing("root", "network namespaces are made by root alone")
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove everything; fine if there is nothing."""
        self._inside.shutdown()
        for name in (self.mux, self.ship):
            if Path(f"/run/netns/{name}").exists():
                # With the link one end of the cable goes, and with it the other.
                subprocess.run(["ip", "-n", name, "link", "del", self._cable], capture_output=True, check=False)
                _run("ip", "netns", "del", name)

    def _make(self) -> None:
        for name in (self.mux, self.ship):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "link", "add", self._cable, "netns", self.mux, "type", "veth",
             "peer", "name", self._cable, "netns", self.ship)  # fmt: skip
        for name, address in ((self.mux, MUX_ADDRESS), (self.ship, SHIP_ADDRESS)):
            _run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", self._cable)
            _run("ip", "-n", name, "link", "set", self._cable, "up")
            # ip-sysctl: without it, what comes from or goes to loopback does not pass any other interface.
            setting = f"/proc/sys/net/ipv4/conf/{self._cable}/route_localnet"
            _run(*self.within(name), "sh", "-c", f"echo 1 > {setting}")
            self._rule(name, "nat", "POSTROUTING", "-o", self._cable, "-j", "SNAT", "--to-source", address)
        self._lead(self.ship, self.mux, MUX_ADDRESS, self._control)

    def publish(self, first: int, count: int) -> None:
        """Lead the ports of the ship's workspaces there."""
        self._ports = f"{first}:{first + count - 1}"
        self._lead(self.mux, self.ship, SHIP_ADDRESS, self._ports)

    def _lead(self, source: str, target: str, address: str, ports: str) -> None:
        tcp = ("-p", "tcp", "--dport", ports, "-j", "DNAT", "--to-destination")
        self._rule(source, "nat", "OUTPUT", "-d", "127.0.0.1", *tcp, address)
        self._rule(target, "nat", "PREROUTING", "-i", self._cable, *tcp, "127.0.0.1")

    # --- cutting ----------------------------------------------------------------------------------------------------

    def cut(self, what: Cut) -> None:
        """From now on, drop without a word."""
        if what == "both":
            for name in (self.mux, self.ship):
                self._drop(name)
            return
        served, asking = (self.mux, self.ship) if what == "link" else (self.ship, self.mux)
        port = self._control if what == "link" else self._ports
        for name, side in ((served, "--dport"), (asking, "--sport")):
            self._drop(name, "-p", "tcp", side, port)

    def heal(self) -> None:
        """Let everything through again."""
        # These alone: an agent keeps rules of its own in the same table.
        drops, self._drops = self._drops, []
        for name, rule in drops:
            _run(*self.within(name), "iptables", "-w", "-t", "raw", "-D", *rule)

    def _drop(self, name: str, *what: str) -> None:
        rule = ("PREROUTING", "-i", self._cable, *what, "-j", "DROP")
        # Before all others: what passes one of them is not looked at further.
        _run(*self.within(name), "iptables", "-w", "-t", "raw", "-I", *rule)
        self._drops.append((name, rule))

    def _rule(self, name: str, table: str, *words: str) -> None:
        _run(*self.within(name), "iptables", "-w", "-t", table, "-A", *words)

    # --- being there ------------------------------------------------------------------------------------------------

    def within(self, name: str) -> Sequence[str]:
        """What stands before a command that is to run in a namespace."""
        return ("nsenter", f"--net=/run/netns/{name}")

    def socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        """A socket in the mux's namespace: it stays there, whoever uses it."""
        made = self._inside.submit(socket.socket, family, kind, protocol).result()
        made.setblocking(False)
        return made

    def _enter(self) -> None:
        """setns(2) moves one thread alone."""
        with Path(f"/run/netns/{self.mux}").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
