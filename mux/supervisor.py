"""The supervisor: owns the listening sockets; starts and restarts the control process and the proxies; nothing else.

It outlives every other process of the mux on this host, so it is small: it reads no event file, opens no store and
imports nothing that could fail at runtime. What to listen on comes from a short-lived ``python -m mux.daemon prepare``.

Asked to (SIGUSR2), it gives way to the next version of itself, in the same process and with the same sockets: see
`mux.succession`.

Rules: a child that dies is started again after a short pause that grows while it keeps dying; a child dies with the
supervisor; the sockets are never closed in between, so nobody is refused while a process restarts. Ships are not its
children: they outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mux.child import SAID, Child, describe, say
from mux.listeners import HandedOver, ListenError, listen_tcp, listen_unix
from mux.lockfile import LOCK, PID_BYTES_MAX
from mux.logfile import STDERR
from mux.notify import READY, STOPPING, Notifier
from mux.succession import Predecessors, all_said, become_next

NOT_FROM_HERE = "-P"
"""Of python(1): a file of the directory that mux was started in, such as a token.py, is no part of the program."""
PROXY_STOP_S = 15.0
"""What a proxy may take to finish what is under way; then it is killed."""
CONTROL_STOP_S = 120.0
"""What the control process may take to stop; parking a fleet takes a while."""
SAME_REQUEST_S = 1.0
"""Signals closer together than this are one request: timeout(1) and terminals send them to whole groups."""
URGENT_REQUESTS = 3
"""The request to stop that does not wait for anything any more."""
EXIT_DEFECT = 70
"""``EX_SOFTWARE`` of sysexits(3): whoever started this process starts it again."""
LOCK_PAUSES_S = (0.02, 0.1, 0.4)
"""Before the lock of a data directory is tried once more: whoever looked at it is gone by then, a supervisor is not."""
PREPARING_S = 10.0
"""Preparing is told of after this long, and again."""


class SupervisorError(Exception):
    """mux cannot start here; the message is one clear line. ``exit_code`` of the process."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``mux.daemon prepare`` says.

    Args:
        public, admin, control: host and port to listen on.
        data: the data directory.
        proxies: proxy processes.
        http: host and port for browsers without TLS; None for none.
        certificate: file that the proxies serve TLS with; None where they do not.
    """

    public: tuple[str, int]
    admin: tuple[str, int]
    control: tuple[str, int]
    data: Path
    proxies: int
    http: tuple[str, int] | None = None
    certificate: Path | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Settings:
        """From the JSON object that is printed."""
        public, admin, control = ((str(raw[n][0]), int(raw[n][1])) for n in ("public", "admin", "control"))
        http = raw.get("http")
        return cls(
            public,
            admin,
            control,
            Path(raw["data"]),
            int(raw["proxies"]),
            (str(http[0]), int(http[1])) if http else None,
            Path(raw["certificate"]) if raw.get("certificate") else None,
        )


async def prepare(config: Path, *, apply_file: bool = False) -> Settings:
    """What to listen on, from the event file in force. Raises SupervisorError with what the preparation said."""
    words = [
        sys.executable,
        NOT_FROM_HERE,
        "-m",
        "mux.daemon",
        "prepare",
        "--config",
        str(config),
        *["--apply"] * apply_file,
    ]
    words += ["--terminal"] * os.isatty(STDERR)
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:  # no memory or process left, or an installation that is being exchanged
        raise SupervisorError(f"{sys.executable} cannot be started: {error.strerror}; try again") from error
    telling = asyncio.create_task(_tell_that_it_takes_long(), name="patience")
    try:
        out, err = await process.communicate()
    finally:
        telling.cancel()
        if process.returncode is None:
            process.kill()
    said = _said(err)
    if process.returncode != 0:
        raise SupervisorError("\n".join(said) or "preparation failed; its log says why", process.returncode or 1)
    for line in said:
        say(line)
    try:
        return Settings.parse(json.loads(out))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SupervisorError(f"preparation said something that is not understood: {error!r}") from error


def _said(err: bytes) -> list[str]:
    """The lines for people of what a child has written; its log goes where the logs of the others go."""
    lines = err.decode(errors="replace").splitlines()
    log = "".join(f"{line}\n" for line in lines if not line.startswith(SAID))
    with contextlib.suppress(OSError):
        os.write(STDERR, log.encode(errors="replace"))
    return [line.removeprefix(SAID) for line in lines if line.startswith(SAID)]


async def _tell_that_it_takes_long() -> None:
    """Preparing may take as long as reading every image does: no bound, but nobody should wonder."""
    while True:
        await asyncio.sleep(PREPARING_S)
        say("still preparing: reading the event file and the images")


def lock(data: Path) -> int:
    """Make sure that this is the one supervisor of a data directory. Returns the descriptor that holds the lock."""
    path = data / LOCK
    try:
        # Each by itself: parents that mkdir makes on the way would be open to everybody.
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SupervisorError(f"{path}: {error.strerror}") from error
    if not _locked(descriptor):
        other = os.read(descriptor, PID_BYTES_MAX).decode(errors="replace").strip()
        os.close(descriptor)
        raise SupervisorError(f"mux is already running on {data} (process {other})")
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        raise SupervisorError(f"{path}: {error.strerror}") from error
    return descriptor


def _locked(descriptor: int) -> bool:
    """Take a lock that nobody else has. Commands that ask whether mux starts hold it for an instant."""
    for pause in (*LOCK_PAUSES_S, None):
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if pause is not None:
            time.sleep(pause)
    return False


class Supervisor:
    """Keeps one mux running on this host.

    Args:
        config: path of the event file.
        settings: what to listen on.
        park_on_exit: park the fleet when stopping, so that no process of it stays.
        notifier: says so where systemd starts it.
        handed_over: sockets of whoever was before.
        predecessors: proxies that serve until these do.

    Raises:
        SupervisorError: another one runs here, or an address cannot be had.
    """

    def __init__(
        self,
        config: Path,
        settings: Settings,
        *,
        park_on_exit: bool,
        notifier: Notifier | None = None,
        handed_over: HandedOver | None = None,
        predecessors: Predecessors | None = None,
    ) -> None:
        self._config = config
        self._parks = park_on_exit
        self._notifier = notifier or Notifier({})
        self._predecessors = predecessors or Predecessors({})
        run = settings.data / "run"
        self._lock = lock(settings.data)
        given = handed_over or HandedOver({})
        try:
            public = listen_tcp("public", *settings.public, given)
            admin = listen_tcp("admin", *settings.admin, given)
            control = listen_tcp("control", *settings.control, given)
            http = listen_tcp("http", *settings.http, given) if settings.http else None
            feed = listen_unix(run / "feed.sock", given)
            web = listen_unix(run / "web.sock", given)
        except ListenError as error:
            raise SupervisorError(str(error)) from error
        given.close()
        self._sockets = {"public": public, "admin": admin, "control": control, "feed.sock": feed, "web.sock": web}
        self._sockets |= {"http": http} if http else {}
        self._serving, told = os.pipe()  # never closed: a proxy that is started again gets it too
        fds = [f"--{name}-fd={s.fileno()}" for name, s in
               (("admin", admin), ("control", control), ("feed", feed), ("web", web))]  # fmt: skip
        park = ["--park-on-exit"] if park_on_exit else []
        self.control = Child(
            "the control process",
            [
                sys.executable,
                NOT_FROM_HERE,
                "-m",
                "mux.daemon",
                "run",
                "--config",
                str(config),
                f"--data={settings.data}",
                *fds,
                *park,
            ],
            [s.fileno() for s in (admin, control, feed, web)],
            CONTROL_STOP_S,
            orphaned=signal.SIGHUP,
        )
        front = [f"--http-fd={http.fileno()}"] if http else []
        front += [f"--certificate={settings.certificate}"] if settings.certificate else []
        self.proxies = [
            Child(
                f"proxy {number}",
                [
                    sys.executable,
                    NOT_FROM_HERE,
                    "-m",
                    "mux.proxy",
                    f"--listen-fd={public.fileno()}",
                    f"--name=proxy-{number}",
                    f"--feed={run / 'feed.sock'}",
                    f"--web={run / 'web.sock'}",
                    f"--ready-fd={told}",
                    *front,
                ],
                [public.fileno(), told, *([http.fileno()] if http else [])],
                PROXY_STOP_S,
            )
            for number in range(settings.proxies)
        ]
        self._stop = asyncio.Event()
        self._give_way = asyncio.Event()
        self._asked_at = 0.0
        self._asked = 0

    def request_stop(self) -> None:
        """Stop in order. Asked again and again, at once; what comes within a second is the same request."""
        now = asyncio.get_running_loop().time()
        if self._asked and now - self._asked_at < SAME_REQUEST_S:
            return
        self._asked, self._asked_at = self._asked + 1, now
        self._stop.set()
        if self._asked == 1:
            say("stopping")
        elif self._asked == URGENT_REQUESTS:
            say("stopping at once; ships may be left running, the next start finds them")
            for child in (self.control, *self.proxies):
                child.kill()
        else:
            say("still stopping; once more stops at once and may leave ships running")

    def request_next(self) -> None:
        """Give way to the next version."""
        self._give_way.set()

    async def run(self) -> int:
        """Keep everything running until asked to stop. Returns the exit code."""
        keepers = {asyncio.create_task(child.keep(), name=child.name): child for child in (self.control, *self.proxies)}
        stop = asyncio.create_task(self._stop.wait(), name="stop request")
        follow = asyncio.create_task(self._follow(), name="versions")
        self._notifier.say(READY)
        done, _ = await asyncio.wait({stop, follow, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        code = 0
        if follow.done() and (defect := follow.exception()) is not None:
            # It was about to give way: the control process has been let go already.
            code = EXIT_DEFECT
            say(f"the next version cannot be started, and this one is stopped already; start mux again: {defect!r}")
            done = set()
        follow.cancel()
        for task, child in keepers.items():
            if task in done:
                code = await task
                say(f"{child.name} cannot run here ({describe(code)})")
        self._notifier.say(STOPPING)
        # The control process first: while it parks the fleet, proxies still answer with pages that say so.
        self.control.stop()
        await self.control.stopped()
        for proxy in self.proxies:
            proxy.stop()
        await asyncio.gather(self._predecessors.stop(PROXY_STOP_S), *(proxy.stopped() for proxy in self.proxies))
        for task in (stop, *keepers):
            task.cancel()
        await asyncio.gather(stop, follow, *keepers, return_exceptions=True)
        for listener in self._sockets.values():
            listener.close()
        os.close(self._lock)
        if code == 0 and not self._parks:
            say("stopped; ships go on, and the next start finds them (`mux serve --park-on-exit` parks them)")
        return code

    async def _follow(self) -> None:
        """Relieve the version before this one, then give way to the next one when asked; until cancelled.

        Whatever is wrong with either, this version goes on, as long as it can.
        """
        try:
            await self._relieve()
        except Exception as defect:
            say(f"proxies of the version before this one may go on: {defect!r}")
        while True:
            await self._give_way.wait()
            self._give_way.clear()
            try:
                await prepare(self._config)
            except SupervisorError as error:
                say(f"the next version cannot start, so this one goes on: {error}")
            except Exception as defect:
                say(f"the next version cannot be prepared, so this one goes on: {defect!r}")
            else:
                await self._become_next()

    async def _relieve(self) -> None:
        """Let the proxies of the version before this one go, once these serve."""
        if self._predecessors.pids:
            if not await all_said(self._serving, len(self.proxies)):
                say("not all new proxies serve yet; those of the version before are let go all the same")
            await self._predecessors.stop(PROXY_STOP_S)

    async def _become_next(self) -> None:
        say("giving way to the next version; nobody is refused meanwhile")
        if self._parks:  # asked in order, it would park the fleet
            self.control.kill()
        else:
            self.control.stop()
        await self.control.stopped()
        proxies = [proxy.pid for proxy in self.proxies if proxy.pid is not None]
        become_next(self._sockets, proxies, os.environ, self._notifier.address)


async def supervise(
    config: Path,
    *,
    park_on_exit: bool,
    apply_file: bool = False,
    beside: Callable[[Settings], Awaitable[None]] | None = None,
) -> int:
    """Prepare and run a mux.

    Args:
        config: path of the event file.
        park_on_exit: see `Supervisor`.
        apply_file: put the file in force first, without asking; for event files that nobody writes by hand.
        beside: runs beside it, and is cancelled when it stops.

    Raises SupervisorError when it cannot start. Returns the exit code.
    """
    # First of all: no child is to inherit these.
    notifier, handed_over, predecessors = Notifier(os.environ), HandedOver(os.environ, say), Predecessors(os.environ)
    settings = await prepare(config, apply_file=apply_file)
    supervisor = Supervisor(
        config,
        settings,
        park_on_exit=park_on_exit,
        notifier=notifier,
        handed_over=handed_over,
        predecessors=predecessors,
    )
    loop = asyncio.get_running_loop()
    if beside is None:
        loop.add_signal_handler(signal.SIGUSR2, supervisor.request_next)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # nohup(1) has hang-ups ignored, and that stays so.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, supervisor.request_stop)
    companion = asyncio.ensure_future(beside(settings)) if beside else None
    if companion is not None:
        companion.add_done_callback(_companion_ended)
    try:
        return await supervisor.run()
    finally:
        if companion is not None:
            companion.cancel()
            await asyncio.gather(companion, return_exceptions=True)


def _companion_ended(companion: asyncio.Future[None]) -> None:
    if not companion.cancelled() and (error := companion.exception()) is not None:
        say(f"what runs beside the mux ended: {error!r}"[:500])


def open_standard_streams() -> None:
    """Have something on descriptors 0 to 2: else a listening socket gets such a number, and is taken for a stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def run(config_path: Path, *, park_on_exit: bool) -> int:
    """`mux serve`: returns the exit code, after one clear line when it cannot start."""
    open_standard_streams()
    try:
        return asyncio.run(supervise(config_path, park_on_exit=park_on_exit))
    except SupervisorError as error:
        say(str(error))
        return error.exit_code
