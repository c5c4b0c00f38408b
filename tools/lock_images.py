"""Writes images/base/requirements.txt: the locked packages of JupyterLab, as they are for the image's Python.

Reads what `uv export` prints on standard input. The lock is for every system; the image has one, so conditions are
decided here and not by whichever Python fetches the packages.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.markers import Marker

TARGET = Path(__file__).parents[1] / "images" / "base" / "requirements.txt"
IMAGE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""Debian 12."""
HEAD = """\
# What JupyterLab in this image consists of: uv.lock, for this image. `make lock-images` writes it.
"""


def decided(exported: str) -> str:
    """The requirements that hold for the image, without their conditions."""
    lines = []
    holds = False
    for line in exported.splitlines():
        if re.match(r"\s*#", line):
            continue
        name, separator, condition = line.removesuffix(" \\").partition(" ; ")
        if not line.startswith(" "):
            holds = not separator or Marker(condition).evaluate(IMAGE)
        if holds:
            lines.append(f"{name} \\" if line.endswith(" \\") else name)
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(decided(sys.stdin.read()), encoding="utf-8")
