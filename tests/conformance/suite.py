"""Runs jupyter_server's own test suite, directly or through the proxy, and says what came out.

The suite lies unpacked in `.cache` (`tools/setup suite` puts it there); its own pytest runs it, with the plugin of this
directory. The proxy is the real one, in static mode, in a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts import missing

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "plugin"
VERSION = importlib.metadata.version("jupyter-server")
SUITE = ROOT / ".cache" / f"jupyter_server-{VERSION}"
START_S_MAX = 30.0
"""Bound of the wait for a listening proxy; a loaded machine needs a few seconds."""
BELOW_EPHEMERAL = range(10_000, 20_000)
"""Linux gives clients ports from 32768 up, ships have theirs from 20000 up: one below stays free between two tests."""

Outcomes = Mapping[str, str]
"""Test to ``passed``, ``failed`` or ``skipped``."""


@dataclass(frozen=True)
class Ports:
    """Where the suite's servers listen, and where the proxy does."""

    upstream: int
    proxy: int


def suite_directory() -> Path:
    """The unpacked source distribution; without it the test ends as for any missing part."""
    if not (SUITE / ".complete").exists():
        missing(f"jupyter_server {VERSION}'s own tests", "tools/setup suite")
    return SUITE


def free_port() -> int:
    """A port below the ephemeral range that nobody listens on."""
    for port in random.sample(BELOW_EPHEMERAL, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port among 100")


@contextlib.contextmanager
def proxy(directory: Path, *options: str) -> Iterator[Ports]:
    """A proxy process in static mode, with further options, listening; ended with the context."""
    ports = Ports(upstream=free_port(), proxy=free_port())
    routes = {"sessions": False, "routes": [{"prefix": "/", "upstream": f"127.0.0.1:{ports.upstream}"}]}
    file = directory / "static.json"
    file.write_text(json.dumps(routes), encoding="utf-8")
    log = directory / "proxy.log"
    command = [sys.executable, "-m", "mux.proxy", "--static", str(file), "--listen", f"127.0.0.1:{ports.proxy}"]
    command += options
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        _await_listening(process, ports.proxy, log)
        yield ports
        assert process.poll() is None, f"the proxy ended with {process.returncode}: {log.read_text()[-4000:]}"
    finally:
        process.terminate()
        process.wait(timeout=START_S_MAX)


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the proxy did not start: {log.read_text()[-4000:]}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"the proxy does not listen on {port}: {log.read_text()[-4000:]}")


def run(selection: Sequence[str], directory: Path, ports: Ports | None) -> Outcomes:
    """Run a part of the suite.

    Args:
        selection: paths or test ids, relative to the suite.
        directory: for outcomes and log.
        ports: through the proxy there, or None for directly.

    Returns:
        The outcome of every selected test that uses the network.
    """
    outcomes = directory / f"{'direct' if ports is None else 'through'}.json"
    outcomes.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "through_proxy",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        "-q",
    ]
    # The suite's own options turn warnings of newer libraries into errors, and log at debug level.
    command += ["-o", "addopts=--strict-markers", "-o", "filterwarnings=default", "-o", "log_cli=false"]
    # A test that hangs fails, and is tried again; the suite's own way would end the run, and its outcomes with it.
    command += ["-o", "timeout=100", "-o", "timeout_method=signal"]
    # A directory for each run: emptying the last one's may take longer than a test has.
    command += ["--basetemp", str(Path(tempfile.mkdtemp(dir=directory)) / "tmp"), "--outcomes", str(outcomes)]
    if ports is not None:
        command += ["--upstream-port", str(ports.upstream), "--proxy-port", str(ports.proxy)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "JUPYTER"))}
    done = subprocess.run(
        [*command, *selection],
        cwd=suite_directory(),
        env=environment | {"PYTHONPATH": str(PLUGIN)},
        capture_output=True,
        text=True,
        check=False,
    )
    (directory / f"{outcomes.stem}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert outcomes.exists(), f"the suite did not run: {(done.stdout + done.stderr)[-4000:]}"
    found: dict[str, str] = json.loads(outcomes.read_text(encoding="utf-8"))
    assert found, f"no test of the suite was selected: {done.stdout[-2000:]}"
    return found


def lost(direct: Outcomes, through: Outcomes) -> list[str]:
    """Tests that pass directly and do not pass through the proxy."""
    return sorted(test for test, outcome in direct.items() if outcome == "passed" and through.get(test) != "passed")
