"""A real ACME authority for tests: Debian's ``pebble``, with a DNS server that leads every name here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority
from tests.parts import require
from tests.registry.server import free_port

START_S_MAX = 60.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Pebble:
    """An authority that runs.

    Args:
        directory: address of its ACME directory.
        trust: what its own certificate is signed by (PEM).
        http_port: where it asks for challenges, instead of port 80.
    """

    directory: str
    trust: Path
    http_port: int
    _management: int

    def root(self) -> ssl.SSLContext:
        """A client that trusts what it issues."""
        context = ssl.create_default_context(cafile=str(self.trust))
        with urllib.request.urlopen(f"https://127.0.0.1:{self._management}/roots/0", context=context) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())


@contextlib.contextmanager
def pebble(root: Path, *, valid_s: int = 7 * 86_400) -> Iterator[Pebble]:
    """Runs an authority.

    Args:
        root: an empty directory.
        valid_s: how long its certificates last.
    """
    program, resolver = require("pebble"), require("pebble-challtestsrv", "Debian: apt-get install pebble")
    root.mkdir(parents=True, exist_ok=True)
    authority = Authority()
    chain, key = authority.issue("127.0.0.1").write(root, "pebble")
    (root / "trust.pem").write_bytes(authority.pem)
    acme, management, http, dns, control = (free_port() for _ in range(5))
    (root / "config.json").write_text(
        json.dumps(
            {
                "pebble": {
                    "listenAddress": f"127.0.0.1:{acme}",
                    "managementListenAddress": f"127.0.0.1:{management}",
                    "certificate": str(chain),
                    "privateKey": str(key),
                    "httpPort": http,
                    "tlsPort": free_port(),
                    "certificateValidityPeriod": valid_s,
                }
            }
        )
    )
    environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    names = [
        resolver,
        "-defaultIPv6",
        "",
        "-dns01",
        f"127.0.0.1:{dns}",
        "-http01",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
    ]
    with contextlib.ExitStack() as running:
        for number, words in enumerate(
            (
                [*names, "-management", f"127.0.0.1:{control}"],
                [program, "-config", str(root / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"],
            )
        ):
            log = running.enter_context((root / f"log-{number}").open("wb"))
            process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
            running.callback(process.wait)
            running.callback(process.send_signal, signal.SIGKILL)
        started = Pebble(f"https://127.0.0.1:{acme}/dir", root / "trust.pem", http, management)
        _wait(started, root)
        yield started


def _wait(started: Pebble, root: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            started.root()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                logs = "".join(path.read_text(errors="replace")[-1000:] for path in sorted(root.glob("log-*")))
                raise AssertionError(f"no ACME authority here: {error}; {logs}") from error
        time.sleep(LOOK_S)
