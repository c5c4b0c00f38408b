"""A small image with Python and a shell, made of this machine's own files: nothing can be pulled here.

It keeps docker-stacks' contract as far as tests need it: user 1000:100, home /home/jovyan, hooks in start-notebook.d
that run before the command, in both ways that Jupyter images have when one fails.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

BASE = "mux-test-base:1"
HOME = "/home/jovyan"
HOOKS = "/usr/local/bin/start-notebook.d"
PROGRAMS = ("/usr/bin/python3", "/usr/bin/dash", "/usr/bin/sleep", "/usr/bin/id")
START = f"""#!/bin/sh
# A failing hook ends the start, or, with HOOKS_GO_ON set, is logged as in today's docker-stacks.
for hook in {HOOKS}/*; do
    code=0
    if [ -x "$hook" ]; then
        echo "Running executable: $hook"
        "$hook" || code=$?
    elif [ "$hook" != "${{hook%.sh}}" ]; then
        echo "Sourcing shell script: $hook"
        sh "$hook" || code=$?
    fi
    if [ "$code" != 0 ] && [ -n "$HOOKS_GO_ON" ]; then
        echo "$hook has failed, continuing execution" >&2
    elif [ "$code" != 0 ]; then
        exit "$code"
    fi
done
echo "Executing the command: $*"
exec "$@"
"""


def root_archive() -> bytes:
    """The base image's files as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=False) as archive:
        for name in ("tmp", "run", "proc", "dev", "sys", "etc", "var/tmp", "usr/local/bin", "root"):
            directory(archive, name, 0o1777 if name.endswith("tmp") else 0o755)
        for name in ("bin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(link)
        libraries: set[str] = set()
        for program in PROGRAMS:
            real = Path(program).resolve()
            archive.add(real, f"usr/bin/{Path(program).name}")
            libraries.update(re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", real], text=True)))
        version = Path("/usr/bin/python3").resolve().name
        for extension in Path(f"/usr/lib/{version}/lib-dynload").glob("*.so"):
            ldd = subprocess.run(["ldd", extension], capture_output=True, text=True, check=False)
            libraries.update(re.findall(r"(/\S+) \(0x", ldd.stdout))
        for library in sorted(libraries):
            archive.add(Path(library).resolve(), f"usr{library.removeprefix('/usr')}")
        archive.add(f"/usr/lib/{version}", f"usr/lib/{version}", filter=_needed)
        link = tarfile.TarInfo("usr/bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "dash"
        archive.addfile(link)
        text(archive, "etc/passwd", "root:x:0:0::/root:/bin/sh\njovyan:x:1000:100::/home/jovyan:/bin/sh\n")
        text(archive, "etc/group", "root:x:0:\nusers:x:100:\n")
        text(archive, "usr/local/bin/start.sh", START, mode=0o755)
    return buffer.getvalue()


def have_base(host: str) -> None:
    """Have `BASE` in an engine, made once. ``host``: as ``DOCKER_HOST`` wants it."""
    environ = os.environ | {"DOCKER_HOST": host}
    known = subprocess.run(["docker", "image", "inspect", BASE], env=environ, capture_output=True, check=False)
    if known.returncode != 0:
        subprocess.run(
            ["docker", "import", "-", BASE], input=root_archive(), env=environ, capture_output=True, check=True
        )


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    unneeded = {
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "ensurepip",
        "tkinter",
        "distutils",
        "dist-packages",
        "pydoc_data",
    }
    return None if unneeded & set(parts) or any(part.startswith("config-") for part in parts) else entry


def directory(archive: tarfile.TarFile, name: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> None:
    """Add a directory."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, uid, gid
    archive.addfile(entry)


def text(archive: tarfile.TarFile, name: str, content: str, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    """Add a file."""
    entry = tarfile.TarInfo(name)
    data = content.encode()
    entry.size, entry.mode, entry.uid, entry.gid = len(data), mode, uid, gid
    archive.addfile(entry, io.BytesIO(data))


def build_context(dockerfile: str, files: dict[str, tuple[str, int]]) -> io.BytesIO:
    """What ``docker build`` is sent: the Dockerfile, and files by path with text and mode."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        text(archive, "Dockerfile", dockerfile)
        for name, (content, mode) in files.items():
            text(archive, name, content, mode=mode, uid=1000, gid=100)
    buffer.seek(0)
    return buffer
