"""The control process can hold a connection for each open page, whatever limit it was started with."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
hard = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, hard))
from mux.daemon.descriptors import raise_descriptor_limit
assert raise_descriptor_limit({wanted}) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("soft", "wanted", "after"), [(256, 2000, 2000), (256, 1_000_000, 4096), (3000, 2000, 3000)])
def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered(soft: int, wanted: int, after: int) -> None:
    program = PROGRAM.format(soft=soft, wanted=wanted)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert int(done.stdout) == after
