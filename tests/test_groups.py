"""Tests of one group run on one worker: those of a module, of one mux, of the one Docker engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict

from tests.docker_engine import ROOT

RUN_S_MAX = 100
MODULES = ("test_keys.py", "test_parts.py")
"""Quick ones with several tests each: dealt out one by one, they would be on both workers."""


def test_a_group_stays_on_one_worker() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-n", "2", "--dist", "loadgroup",
         *(f"tests/{name}" for name in MODULES)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip
    workers = defaultdict(set)
    for worker, module, group in re.findall(
        r"^\[(gw\d)\] .*PASSED tests/(\w+\.py)::.*@(\S+)", ran.stdout, re.MULTILINE
    ):
        assert group == module
        workers[module].add(worker)
    assert {module: len(its) for module, its in workers.items()} == dict.fromkeys(MODULES, 1), ran.stdout
