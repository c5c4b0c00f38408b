"""The agent bundle: one archive with the ship agent and every Python package that it needs, for machines without it.

Owns how it is put together and where it is kept: ``<data>/agent/<SHA-256>.tar.gz``. It holds the very files that run
here: the `ship_agent` package, the installed distributions that it depends on, and its systemd units. So a new machine
needs Python and no package index, and a fleet runs what was tested. The price: the machine must have the mux's own
Python (3.11, say) and architecture; `bundle.json` says which, and the machine refuses another.

Rules: the same files give the same bytes, so that ships of two runs agree. It is built once for an installation: a mux
that comes back finds it by what it was made of. Byte code is made here rather than on each ship, and checked by nobody
(PEP 552), since the archive's digest is. Blocks for seconds: call it in a thread.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import py_compile
import secrets
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mux import __version__

NEEDED: Final = ("aiodocker", "aiohttp", "cryptography", "psutil", "pydantic", "structlog", "yarl")
"""What `ship_agent` imports; a test holds the two together. What these need comes with them."""
UNITS: Final = ("mux-ship-join.service", "mux-ship.service")
NOTE: Final = "bundle.json"
"""What lies beside the bundle: its digest, and what it was made of."""
LAUNCHER: Final = """\
#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, "/opt/mux/lib")
from ship_agent.cli import main
main()
"""
"""Isolated: what else is installed on the machine, and its environment, change nothing."""


class BundleError(Exception):
    """There can be no bundle; one line that says what to do."""


@dataclass(frozen=True, slots=True)
class AgentBundle:
    """A bundle on disk. ``sha256``: of the whole file, 64 hex digits."""

    path: Path
    sha256: str


def agent_bundle(directory: Path) -> AgentBundle:
    """The bundle of this installation; made if need be, and older ones deleted. Raises BundleError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made_of = _made_of()
        if (kept := _kept(directory, made_of)) is not None:
            return kept
        content = _archive(_files())
        sha256 = hashlib.sha256(content).hexdigest()
        path = directory / f"{sha256}.tar.gz"
        _write(path, content)
        _write(directory / NOTE, json.dumps({"sha256": sha256, "made_of": made_of}).encode())
        for old in directory.glob("*.tar.gz"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(f"{directory}: {error.strerror}; mux needs to write the agent bundle there") from error
    except (importlib.metadata.PackageNotFoundError, py_compile.PyCompileError) as error:
        raise BundleError(f"the agent bundle cannot be made: {error}; install mux anew") from error
    return AgentBundle(path, sha256)


def distributions() -> dict[str, importlib.metadata.Distribution]:
    """Every distribution that the agent needs here, by normalised name. Raises PackageNotFoundError."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = [Requirement(name) for name in NEEDED]
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            extras = ("", *requirement.extras)
            for line in found[name].requires or ():
                further = Requirement(line)
                if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                    wanted.append(further)
    return dict(sorted(found.items()))


def _made_of() -> str:
    """What tells this installation from another, without reading all of it: the agent's files, the rest by version."""
    digest = hashlib.sha256(json.dumps(_about(), sort_keys=True).encode())
    package = _ship_agent()
    for name in UNITS:
        digest.update(_unit(package, name))
    for path in _sources(package):
        digest.update(f"{path.relative_to(package)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _kept(directory: Path, made_of: str) -> AgentBundle | None:
    """The bundle of an earlier run, if it was made of the same and is whole."""
    try:
        note = json.loads((directory / NOTE).read_bytes())
        bundle = AgentBundle(directory / f"{note['sha256']}.tar.gz", str(note["sha256"]))
        whole = hashlib.sha256(bundle.path.read_bytes()).hexdigest() == bundle.sha256
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return bundle if whole and note.get("made_of") == made_of else None


def _write(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _about() -> dict[str, object]:
    """What a machine is told of the bundle: `ship_stub` refuses one for another Python or architecture."""
    return {
        "version": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "packages": {name: found.version for name, found in distributions().items()},
    }


def _sources(package: Path) -> list[Path]:
    return [path for path in sorted(package.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def _files() -> Iterator[tuple[str, bytes, int]]:
    """Name in the archive, content and mode of every file."""
    yield "bundle.json", json.dumps(_about(), indent=1, sort_keys=True).encode(), 0o644
    yield "bin/ship-agent", LAUNCHER.encode(), 0o755
    package = _ship_agent()
    for name in UNITS:
        yield f"systemd/{name}", _unit(package, name), 0o644
    metadata = f"Metadata-Version: 2.1\nName: mux\nVersion: {__version__}\n"
    yield f"lib/mux-{__version__}.dist-info/METADATA", metadata.encode(), 0o644
    for path in _sources(package):
        yield from _with_byte_code(PurePosixPath("lib/ship_agent") / path.relative_to(package).as_posix(), path)
    for found in distributions().values():
        for file in sorted(found.files or ()):
            if ".." not in file.parts and "__pycache__" not in file.parts and not file.name.endswith(".h"):
                yield from _with_byte_code(PurePosixPath("lib") / file, Path(str(found.locate_file(file))))


def _with_byte_code(name: PurePosixPath, path: Path) -> Iterator[tuple[str, bytes, int]]:
    yield str(name), path.read_bytes(), 0o755 if os.access(path, os.X_OK) and path.suffix != ".py" else 0o644
    if path.suffix == ".py":
        with tempfile.TemporaryDirectory() as directory:
            made = Path(directory) / "byte-code"
            py_compile.compile(
                str(path),
                cfile=str(made),
                dfile=f"/opt/mux/{name}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            cached = PurePosixPath(importlib.util.cache_from_source(str(name)))
            yield str(cached), made.read_bytes(), 0o644


def _archive(files: Iterator[tuple[str, bytes, int]]) -> bytes:
    """A gzipped tar archive that holds no time, owner or order of this machine."""
    packed = io.BytesIO()
    # Level 1: it is made at the start of the mux, and a ship's network is faster than better compression.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as out,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content, mode in files:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _ship_agent() -> Path:
    found = importlib.util.find_spec("ship_agent")
    if found is None or found.origin is None:
        raise BundleError("the package ship_agent is not installed; install mux anew")
    return Path(found.origin).parent


def _unit(package: Path, name: str) -> bytes:
    """A unit: inside the installed package, or in the checkout that it is run from."""
    for path in (package / "systemd" / name, package.parent / "deploy" / "systemd" / name):
        if path.is_file():
            return path.read_bytes()
    raise BundleError(f"{name} is missing from the installation; install mux anew")
