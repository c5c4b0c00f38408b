"""What user-data runs on a new machine, once and as root: it makes the machine a ship.

Stands alone, on any Python from 3.9 with nothing but its standard library: `mux.providers.user_data` sends this text
with a last line that calls `main`. Finds the agent that an image brings, or fetches the bundle that the mux serves;
keeps the join information; has systemd start the agent.

Rules: the join token is in files of mode 0600 and in a header inside TLS, never in arguments or output. Nothing but the
mux's own certificate authority is trusted, and a bundle must have the digest that was ordered. Each step may be done
again. A failure is one line for people, on the machine's console.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TRIES_MAX = 40
"""For the bundle: about ten minutes. A fleet that boots at once waits for its turn."""
PAUSE_MAX_S = 20.0
ANSWER_S_MAX = 60.0
BUNDLE_BYTES_MAX = 256 * 1024 * 1024
UNITS = ("mux-ship-join.service", "mux-ship.service")
ENGINE_PACKAGES = ("docker.io", "iptables")
APT_TRIES_MAX = 10
"""A machine's first boot has an apt of its own, which locks others out, and mirrors that hundreds ask at once fail."""
APT_LOCK_S_MAX = 120


class StubError(Exception):
    """The machine does not become a ship; one line that says why."""


def main(launch: dict[str, str], root: Path = Path("/")) -> None:
    """Make this machine a ship.

    Args:
        launch: ``launch.json``: join information without what only the machine knows, and which bundle to fetch.
        root: of the file system; another one for tests.
    """
    os.umask(0o077)
    try:
        keep(launch, root)
        if launch["runtime"] == "docker" and root == Path("/"):
            have_engine(root)
        have_agent(launch, root)
        have_units(root)
        if root == Path("/"):
            run("systemctl", "daemon-reload")
            run("systemctl", "enable", "--quiet", *UNITS)
            # Not waited for: systemd starts it when what it needs is there, and starts it again if it ends.
            run("systemctl", "start", "--no-block", "mux-ship.service")
    except (StubError, OSError, tarfile.TarError) as error:
        sys.exit(f"mux-ship: this machine does not become a ship: {error}")
    print("mux-ship: the agent is starting; see journalctl -u mux-ship", flush=True)  # noqa: T201 - the console's


def keep(launch: dict[str, str], root: Path) -> None:
    """Write ``launch.json``, readable by root alone from its first byte on."""
    directory = root / "etc/mux-ship"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = directory / ".launch.json"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(launch, file)
    temporary.replace(directory / "launch.json")


def have_engine(root: Path) -> None:
    """A Docker engine; Debian's own where the image brings none."""
    configuration = root / "etc/docker/daemon.json"
    if not configuration.exists():
        configuration.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        configuration.write_text('{"live-restore": true}\n')
    if shutil.which("dockerd") and shutil.which("iptables"):
        return
    print("mux-ship: installing", *ENGINE_PACKAGES, flush=True)  # noqa: T201 - the console's
    for tries_left in reversed(range(APT_TRIES_MAX)):
        try:
            apt_get("update")
            apt_get("install", *ENGINE_PACKAGES)
            return
        except StubError as error:
            if not tries_left:
                raise
            print(f"mux-ship: {error}; trying again", flush=True)  # noqa: T201 - the console's
            time.sleep(random.uniform(0.0, PAUSE_MAX_S))  # noqa: S311 - spreads load, guards no secret


def apt_get(*words: str) -> None:
    """Debian's package manager, which asks nobody."""
    options = ("-q", "-y", "--no-install-recommends", "-o", f"DPkg::Lock::Timeout={APT_LOCK_S_MAX}")
    run("apt-get", *options, *words, environment={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def have_agent(launch: dict[str, str], root: Path) -> None:
    """The agent at ``/opt/mux``: the one of the image if it is of the mux's version, else the ordered bundle."""
    if (root / "opt/mux/bin/ship-agent").exists() and described(root / "opt/mux").get("version") == launch["version"]:
        return
    if not launch["bundle"]:
        raise StubError("the image has no agent of the mux's version, and the mux has no bundle; bake the image anew")
    print("mux-ship: fetching the agent from the mux", flush=True)  # noqa: T201 - the console's
    unpack(fetched(launch, root), root)


def described(directory: Path) -> dict[str, str]:
    """What is said of an agent that lies in a directory; nothing if there is none."""
    try:
        found: dict[str, str] = json.loads((directory / "bundle.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def fetched(launch: dict[str, str], root: Path) -> Path:
    """The bundle, with the digest that was ordered."""
    path = root / "var/tmp/mux-ship-bundle.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    control = urllib.parse.urlsplit(launch["control_url"])
    request = urllib.request.Request(
        f"https://{control.netloc}/ship/bundle/{launch['bundle']}",
        headers={"Authorization": f"Bearer {launch['join_token']}", "Mux-Ship": launch["ship"]},
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=launch["ca_pem"])
    # No proxy of the environment: the token is for the mux alone.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    why = ""
    for _ in range(TRIES_MAX):
        try:
            with opener.open(request, timeout=ANSWER_S_MAX) as answer:
                if save(answer, path) == launch["bundle"]:
                    return path
            why = "it is not what was ordered"
        except urllib.error.HTTPError as error:
            why = f"the mux answers {error.code}"
            if error.code in (400, 401, 403, 404):
                break
        except OSError as error:
            why = str(getattr(error, "reason", error))
        time.sleep(random.uniform(0.0, PAUSE_MAX_S))  # noqa: S311 - spreads load, guards no secret
    raise StubError(f"the agent's bundle cannot be had: {why}")


def save(answer: object, path: Path) -> str:
    """Write an answer's body to a file; its SHA-256 in hex digits."""
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        while piece := answer.read(1 << 20):  # type: ignore[attr-defined]
            size += len(piece)
            if size > BUNDLE_BYTES_MAX:
                raise StubError("the agent's bundle is too large")
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def unpack(bundle: Path, root: Path) -> None:
    """Put the agent in place, whole or not at all. The digest was checked, so its paths are the mux's own."""
    target = root / "opt/mux"
    new, old = target.with_name("mux.new"), target.with_name("mux.old")
    for path in (new, old):
        shutil.rmtree(path, ignore_errors=True)
    new.mkdir(mode=0o755, parents=True)
    with tarfile.open(bundle) as archive:
        archive.extractall(new)  # noqa: S202 - see above
    said = described(new)
    here = {"python": ".".join(platform.python_version_tuple()[:2]), "machine": platform.machine()}
    for name, value in here.items():
        if said.get(name) != value:
            raise StubError(
                f"the mux's bundle is for {name} {said.get(name)}, this machine has {value}; use an image of the mux's "
                "own system, or bake the agent into it"
            )
    new.chmod(0o755)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    bundle.unlink()


def have_units(root: Path) -> None:
    """The agent's units; those of the image stay."""
    directory = root / "etc/systemd/system"
    directory.mkdir(parents=True, exist_ok=True)
    for name in UNITS:
        if not (directory / name).exists():
            shutil.copyfile(root / "opt/mux/systemd" / name, directory / name)
            (directory / name).chmod(0o644)


def run(*words: str, environment: dict[str, str] | None = None) -> None:
    """One program, with its output on the console."""
    try:
        subprocess.run(words, check=True, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603 - fixed words
    except subprocess.CalledProcessError as error:
        raise StubError(f"{' '.join(words)} ended with {error.returncode}; see above") from error
