"""What user-data runs on a new machine, once and as root: it makes the machine a ship.

Stands alone, on any Python from 3.9 with nothing but its standard library: `mux.providers.user_data` sends this text
with a last line that calls `main`. Finds the agent that an image brings, or fetches the bundle that the mux serves;
keeps the join information; has systemd start the agent, and sees it to its start. Tells the mux what it is doing
meanwhile, and why it gave up.

Rules: the join token is in files of mode 0600 and in a header inside TLS, never in arguments or output. Nothing but the
mux's own certificate authority is trusted, and a bundle must have the digest that was ordered. Each step may be done
again, and none waits for the mux to hear of it. A failure is one line for people, on the machine's console and at the
mux: the same one on every machine to which the same happens.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import hashlib
import http.client
import json
import os
import platform
import random
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TRIES_MAX = 40
"""For the bundle: about ten minutes. A fleet that boots at once waits for its turn."""
WRONG_MAX = 5
"""Bundles that are not what was ordered, in a row: a broken download mends itself, and nothing else does."""
PAUSE_MAX_S = 20.0
ANSWER_S_MAX = 60.0
BUNDLE_BYTES_MAX = 256 * 1024 * 1024
UNITS = ("mux-ship-join.service", "mux-ship.service")
ENGINE_UNIT = "docker.service"
ENGINE_PACKAGES = ("docker.io", "iptables")
APT_TRIES_MAX = 10
"""A machine's first boot has an apt of its own, which locks others out, and mirrors that hundreds ask at once fail."""
APT_LOCK_S_MAX = 120
APT_ANSWER_S_MAX = 20
APT_S_MAX = 400.0
"""From the first try to the last: the mux gives a machine ten minutes by default, and should be told why before."""
LINES_KEPT = 200
"""Of a program's output, to find in it why the program failed."""
TELL_EVERY_S = 2.0
"""Between two words to the mux, which hears no more of them."""
TELL_AGAIN_S = 30.0
"""Until the same is told again: a mux that was restarted has forgotten it."""
TELL_S_MAX = 10.0
"""For one word to be taken."""
START_TOLD_S_MAX = 5.0
"""How long the last word of a machine that becomes a ship is waited for: its agent says the rest."""
GIVEN_UP_TOLD_S_MAX = 600.0
"""And that of one that does not: nobody else says it."""
WATCH_S_MAX = 300.0
"""How long the agent's start is watched; from then on the mux's own deadline counts."""
WATCH_EVERY_S = 2.0
TROUBLE_S_MAX = 90.0
"""How long a start may fail: systemd tries again, and what passes by itself has passed by then."""
LAST_WORDS = 20
"""Lines of a unit's journal, to find in it why the unit failed."""
AGENT_STARTS = "the agent is starting; see journalctl -u mux-ship"
AGENT_RUNS = "the agent runs and dials the mux; see journalctl -u mux-ship"
DISK_FULL = "its disk is full; give ships a larger one"
NO_MIRROR = (
    "it cannot reach Debian's archive to install Docker; give the ships' network a way out, or use a machine image "
    "that has Docker"
)
TROUBLES = (
    ("No space left on device", DISK_FULL),
    ("You don't have enough free space", DISK_FULL),
    ("Could not resolve", NO_MIRROR),
    ("Temporary failure resolving", NO_MIRROR),
    ("Could not connect", NO_MIRROR),
    ("Cannot initiate the connection", NO_MIRROR),
    ("Unable to connect", NO_MIRROR),
    ("onnection timed out", NO_MIRROR),
    ("Hash Sum mismatch", "Debian's archive, or its mirror, gives packages that are not what its index says"),
    ("Could not get lock", "another program on it holds apt's lock"),
)
"""What apt-get says, and what that means."""


class StubError(Exception):
    """The machine does not become a ship; one line that says why."""


def main(launch: dict[str, str], root: Path = Path("/")) -> None:
    """Make this machine a ship.

    Args:
        launch: ``launch.json``: join information without what only the machine knows, and which bundle to fetch.
        root: of the file system; another one for tests.
    """
    os.umask(0o077)
    teller = Teller(launch)
    teller.start()
    try:
        keep(launch, root)
        if launch["runtime"] == "docker" and root == Path("/"):
            have_engine(root, teller)
        have_agent(launch, root, teller)
        have_units(root)
        teller.say(AGENT_STARTS)
        if root == Path("/"):
            run("systemctl", "daemon-reload")
            run("systemctl", "enable", "--quiet", *UNITS)
            # Not waited for: systemd starts it when what it needs is there, and starts it again if it ends.
            run("systemctl", "start", "--no-block", "mux-ship.service")
            watch(launch["runtime"], teller)
    except Exception as error:
        # Whatever it was, people are told, and in one line.
        why = reason(error)
        print(f"mux-ship: this machine does not become a ship: {why}", file=sys.stderr, flush=True)  # noqa: T201
        teller.say(why, failed=True)
        teller.end(GIVEN_UP_TOLD_S_MAX)
        sys.exit(1)
    teller.end(START_TOLD_S_MAX)


def reason(error: Exception) -> str:
    """Why the machine does not become a ship, without what only this machine would say."""
    if isinstance(error, StubError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DISK_FULL
    return f"{type(error).__name__}: {(isinstance(error, OSError) and error.strerror) or error}"


class Teller(threading.Thread):
    """Tells the mux what this machine is doing. What does not get through holds nothing up.

    Args:
        launch: ``launch.json``.
    """

    def __init__(self, launch: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._launch = launch
        self._said: dict[str, object] = {}
        self._told: dict[str, object] = {}
        self._over = False
        self._changed = threading.Condition()

    def say(self, doing: str, failed: bool = False) -> None:
        """Say something, to the mux as soon as it hears it and on the console at once."""
        if not failed:
            print(f"mux-ship: {doing}", flush=True)  # noqa: T201 - the console's
        with self._changed:
            self._said = {"doing": doing[:300], "failed": failed}
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether nobody listens to this machine any more: most likely its agent has joined."""
        return self._over

    def end(self, within_s: float) -> None:
        """Wait until the mux has heard the last word, or will hear nothing more, so long at most; then be silent."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._told == self._said, within_s)
        self._end()

    def run(self) -> None:
        """Tell what is new, and now and then what is not, until nobody listens to this machine any more."""
        with contextlib.suppress(OSError):
            self._tell(mux_opener(self._launch))
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _tell(self, opener: urllib.request.OpenerDirector) -> None:
        while not self._over:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._told != self._said, TELL_AGAIN_S)
                said = self._said
            if said and not self._over and self._heard(opener, said):
                with self._changed:
                    self._told = said
                    self._changed.notify_all()
            pause_s = TELL_EVERY_S * random.uniform(1.0, 1.5)  # noqa: S311 - spreads load, guards no secret
            with self._changed:
                self._changed.wait_for(lambda: self._over, pause_s)

    def _heard(self, opener: urllib.request.OpenerDirector, said: dict[str, object]) -> bool:
        """Whether the mux has heard it."""
        request = to_mux(self._launch, "/ship/boot", json.dumps(said).encode())
        try:
            with opener.open(request, timeout=TELL_S_MAX):
                return True
        except urllib.error.HTTPError as error:
            # An agent has joined, the ship is not wanted any more, or this mux knows nothing of this.
            self._over |= error.code < 500 and error.code not in (408, 429)
        except (OSError, http.client.HTTPException) as error:
            self._over |= isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)
        return False


def mux_opener(launch: dict[str, str]) -> urllib.request.OpenerDirector:
    """A way to the mux alone. No proxy of the environment: the token is for the mux."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=launch["ca_pem"])
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def to_mux(launch: dict[str, str], path: str, word: bytes | None = None) -> urllib.request.Request:
    """A request by this machine; with a word, one that brings it."""
    control = urllib.parse.urlsplit(launch["control_url"])
    return urllib.request.Request(
        f"https://{control.netloc}{path}",
        data=word,
        headers={"Authorization": f"Bearer {launch['join_token']}", "Mux-Ship": launch["ship"]},
        method="PUT" if word else "GET",
    )


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


def have_engine(root: Path, teller: Teller) -> None:
    """A Docker engine; Debian's own where the image brings none."""
    configuration = root / "etc/docker/daemon.json"
    if not configuration.exists():
        configuration.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        configuration.write_text('{"live-restore": true}\n')
    if shutil.which("dockerd") and shutil.which("iptables"):
        return
    if not shutil.which("apt-get"):
        raise StubError("its image has neither Docker nor apt to install it; use one of Debian, or one that has Docker")
    doing = f"installing {' '.join(ENGINE_PACKAGES)}"
    teller.say(doing)
    began = time.monotonic()
    for number in range(1, APT_TRIES_MAX + 1):
        try:
            # Old lists are no failure of an update that reaches nothing; then the installation fails for them.
            complaints = apt_get("update")
            apt_get("install", *ENGINE_PACKAGES, complaints=complaints)
            return
        except StubError as error:
            if number == APT_TRIES_MAX or time.monotonic() - began > APT_S_MAX:
                raise
            teller.say(f"{doing}, try {number + 1} of {APT_TRIES_MAX}: {error}")
            time.sleep(random.uniform(0.0, PAUSE_MAX_S))  # noqa: S311 - spreads load, guards no secret


def apt_get(*words: str, complaints: str = "") -> str:
    """Debian's package manager, which asks nobody; what it complained of, after what an earlier run did."""
    settings = (f"DPkg::Lock::Timeout={APT_LOCK_S_MAX}", f"Acquire::http::Timeout={APT_ANSWER_S_MAX}")
    options = ["-q", "-y", "--no-install-recommends", *(part for each in settings for part in ("-o", each))]
    code, said = output("apt-get", *options, *words, environment={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    complaints += said
    if code:
        for sign, meaning in TROUBLES:
            if sign in complaints:
                raise StubError(meaning)
        last = [line for line in complaints.splitlines() if line.startswith("E: ")][-1:]
        raise StubError(f"apt-get {words[0]} ended with {code}{': ' if last else ''}{''.join(last)[3:]}")
    return complaints


def have_agent(launch: dict[str, str], root: Path, teller: Teller) -> None:
    """The agent at ``/opt/mux``: the one of the image if it is of the mux's version, else the ordered bundle."""
    if (root / "opt/mux/bin/ship-agent").exists() and described(root / "opt/mux").get("version") == launch["version"]:
        return
    if not launch["bundle"]:
        raise StubError("the image has no agent of the mux's version, and the mux has no bundle; bake the image anew")
    bundle = fetched(launch, root, teller)
    teller.say("unpacking the agent")
    unpack(bundle, root)


def described(directory: Path) -> dict[str, str]:
    """What is said of an agent that lies in a directory; nothing if there is none."""
    try:
        found: dict[str, str] = json.loads((directory / "bundle.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def fetched(launch: dict[str, str], root: Path, teller: Teller) -> Path:
    """The bundle, with the digest that was ordered."""
    path = root / "var/tmp/mux-ship-bundle.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = mux_opener(launch)
    request = to_mux(launch, f"/ship/bundle/{launch['bundle']}")
    doing, why, wrong = "fetching the agent from the mux", "", 0
    teller.say(doing)
    for number in range(1, TRIES_MAX + 1):
        try:
            with opener.open(request, timeout=ANSWER_S_MAX) as answer:
                if save(answer, path) == launch["bundle"]:
                    return path
                why, wrong = ("it was cut off", 0) if answer.length else ("it is not what was ordered", wrong + 1)
        except urllib.error.HTTPError as error:
            why, wrong = f"the mux answers {error.code}", 0
            if error.code in (400, 401, 403, 404):
                break
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", 0) == errno.ENOSPC:
                raise
            why, wrong = str(getattr(error, "reason", error)), 0
        if wrong == WRONG_MAX or number == TRIES_MAX:
            break
        teller.say(f"{doing}, try {number + 1} of {TRIES_MAX}: {why}")
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


def watch(runtime: str, teller: Teller) -> None:
    """See the agent to its start: nobody else says what keeps it before it has joined.

    Raises StubError for what has kept it for so long that it does not pass.
    """
    units = (ENGINE_UNIT, *UNITS) if runtime == "docker" else UNITS
    began = fine_at = time.monotonic()
    told = AGENT_STARTS
    while not teller.over and time.monotonic() - began < WATCH_S_MAX:
        doing, fails = keeps(units)
        if doing != told:
            teller.say(doing)
            told = doing
        if doing == AGENT_RUNS:
            return
        if not fails:
            fine_at = time.monotonic()
        elif time.monotonic() - fine_at > TROUBLE_S_MAX:
            raise StubError(doing)
        time.sleep(WATCH_EVERY_S)


def keeps(units: tuple[str, ...]) -> tuple[str, bool]:
    """What keeps the agent, whose unit is the last one, and whether that is a failure."""
    state: dict[str, str] = {}
    for unit in units:
        _, said = output("systemctl", "show", "--property=ActiveState,Result,NRestarts", unit, loud=False)
        state = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        name = "Docker" if unit == ENGINE_UNIT else "the agent"
        again = state.get("ActiveState") == "activating" and state.get("NRestarts", "0") != "0"
        if again or state.get("ActiveState") == "failed":
            return f"{name} does not start: {last_words(unit) or state.get('Result')}", True
        if state.get("ActiveState") == "activating" and unit == ENGINE_UNIT:
            return f"{name} is starting; see journalctl -u {unit}", False
    return (AGENT_RUNS if state.get("ActiveState") == "active" else AGENT_STARTS), False


def last_words(unit: str) -> str:
    """The last line that a unit's processes said: not systemd about them, and none that bears a time."""
    match = ("--output=cat", f"--lines={LAST_WORDS}", f"_SYSTEMD_UNIT={unit}")
    _, said = output("journalctl", "--no-pager", "--quiet", *match, loud=False)
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("{")]
    if not lines:
        return ""
    line = lines[-1].rpartition(" msg=")[2].strip('"')
    return line[len("ship-agent: ") :] if line.startswith("ship-agent: ") else line


def run(*words: str) -> None:
    """One program that has to work."""
    code, said = output(*words)
    if code:
        raise StubError(f"{' '.join(words)} ended with {code}: {said.strip().rpartition(chr(10))[2]}")


def output(*words: str, environment: dict[str, str] | None = None, loud: bool = True) -> tuple[int, str]:
    """One program: what it ended with, and the end of its output; all of that is on the console if it is ``loud``."""
    kept: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
    with subprocess.Popen(  # noqa: S603 - fixed words
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if loud:
                print(line, end="", flush=True)  # noqa: T201 - the console's
            kept.append(line)
    return process.returncode, "".join(kept)
