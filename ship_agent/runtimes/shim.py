"""The shim of one process workspace: starts it, keeps its log, and says on disk how it ended.

Run as a program, ``python -I -S shim.py WORKSPACE_DIR``, in a session of its own. It outlives the agent; the next agent
adopts it by pid and start time (`process_mark`). It holds a lock on the workspace's files as long as it lives, so that
two of them never run on the same files, whoever starts them.

Reads ``launch.json`` (what to run). Writes ``shim.json`` (pid and mark), ``log`` and ``exit.json`` (how it ended).

Rules: the standard library only, few imports, small memory, since there is one for each workspace. Everything that it
started is gone before it is. SIGTERM asks the workspace to stop; a second one kills it. Output is pumped through the
shim, so that the log keeps within its bound whatever is printed. A full disk loses log lines, never the workspace.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

LOG_BYTES_MAX = 5 * 1024 * 1024
"""A log is set aside at this size, and one older part is kept: at most 10 MB for each workspace."""
PUMP_BYTES = 65_536
"""Output read at a time: the size of a Linux pipe."""
GRACE_MAX_S = 30.0
"""Between being asked to stop and being killed, when no agent is there to say it earlier."""
KILL_MAX_S = 10.0
"""How long killed processes are waited for. Beyond it they hang in the kernel, and waiting longer helps nobody."""
LOCKED_EXIT = 75
"""The shim's own exit code when the files are in use by another one (``EX_TEMPFAIL`` of sysexits)."""
PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below this process become its children, whatever session they are in."""


def process_mark(pid: int) -> str:
    """What tells a process from a later one with the same pid: boot and start time; empty if it is dead or a zombie.

    Linux: proc(5), field 22 of ``/proc/<pid>/stat``, in ticks since the boot, so that a clock that is set changes
    nothing. Elsewhere: the start time as ps(1) prints it.

    Raises OSError when it cannot be told for want of descriptors or memory: that is no word on the process.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - no pathlib: it costs memory
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:  # noqa: PTH123
            boot = file.read().strip()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        if sys.platform == "linux":
            return ""
        shown = subprocess.run(  # noqa: S603 - a fixed program, and a number
            ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout.split(None, 1)
        return "" if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()
    return "" if fields[0] in (b"Z", b"X") else f"{boot.decode()}:{fields[19].decode()}"


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write a small file whole or not at all, readable by its owner only."""
    temporary = f"{path}.{os.getpid()}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - no pathlib: it costs memory
    except OSError:
        os.unlink(temporary)  # noqa: PTH108
        raise


def descendants(root: int) -> list[int]:
    """Every live process below ``root``, children first. Linux only; elsewhere empty."""
    children: dict[int, list[int]] = {}
    for pid in processes():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def processes() -> Iterator[int]:
    """The pids of this machine, or of this container. Empty where there is no /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - no pathlib: it costs memory
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


class Log:
    """The workspace's log: appended to, set aside at `LOG_BYTES_MAX`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        except OSError:
            self._descriptor = -1

    def write(self, data: bytes) -> None:
        """Append; what a full disk does not take is dropped, since a pump that stops would stop the workspace."""
        try:
            if self._size + len(data) > LOG_BYTES_MAX:
                descriptor, self._descriptor, self._size = self._descriptor, -1, 0
                os.close(descriptor)
                os.replace(self._path, f"{self._path}.1")  # noqa: PTH105
            if self._descriptor < 0:
                self._open()
            self._size += os.write(self._descriptor, data)
        except OSError:
            pass

    def say(self, line: str) -> None:
        """A line of the shim itself, told apart from the workspace's own output."""
        self.write(f"[mux] {line}\n".encode())


class Shim:
    """One run of one workspace: hooks in the order of their names, then the command."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        with open(f"{directory}/launch.json", encoding="utf-8") as file:  # noqa: PTH123
            launch = json.load(file)
        self.home: str = launch["home"]
        self.environment: dict[str, str] = launch["environment"]
        self.steps: list[tuple[str, list[str]]] = [(hook[0], hook[1]) for hook in launch["hooks"]]
        self.steps.append(("", launch["command"]))
        self.groups: list[str] = launch["cgroups"]
        self.memory_group: str = launch["memory_cgroup"]
        self.files_max: int = launch["files_max"]
        self.child: subprocess.Popen[bytes] | None = None
        self.step = ""
        self.asked_at: float | None = None
        self.ended: tuple[int, str, str] | None = None
        self.selector = selectors.DefaultSelector()
        self.log = Log(f"{directory}/log")
        self.output, self.pipe = os.pipe()
        self.wake_read, self.wake_write = os.pipe()

    def run(self) -> None:
        """Run to the end, then write ``exit.json``."""
        self._listen()
        oom_before = self._oom_kills()
        self._next()
        while self.ended is None:
            self._turn()
        self._kill_all()
        self._pump()
        code, reason, detail = self.ended
        if reason != "stopped" and self._oom_kills() > oom_before and code == 128 + signal.SIGKILL:
            reason, detail = "oom", "the workspace used more memory than its limit and was killed"
        self._leave_groups()
        self.log.say(detail)
        try:
            write_json(
                f"{self.directory}/exit.json", {"code": code, "reason": reason, "detail": detail, "at": time.time()}
            )
        except OSError:
            self.log.say("the exit code cannot be written: the disk is full or the directory is gone")

    def _leave_groups(self) -> None:
        """Remove the control groups, which are empty now: perhaps nobody else will."""
        for group in self.groups:
            with contextlib.suppress(OSError):
                os.rmdir(group)  # noqa: PTH106 - no pathlib: it costs memory

    def _listen(self) -> None:
        for descriptor in (self.output, self.wake_read, self.wake_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.selector.register(self.output, selectors.EVENT_READ)
        self.selector.register(self.wake_read, selectors.EVENT_READ)

    def _asked(self, _number: int, _frame: object) -> None:
        """Asked to stop: pass it on to the group of what runs. Asked again: kill."""
        if self.asked_at is not None:
            self.asked_at = -GRACE_MAX_S
            return
        self.asked_at = time.monotonic()
        self._signal_child(signal.SIGTERM)

    def _signal_child(self, number: int) -> None:
        if self.child is not None and self.child.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self.child.pid, number)

    def _turn(self) -> None:
        left = None if self.asked_at is None else max(0.0, self.asked_at + GRACE_MAX_S - time.monotonic())
        for key, _ in self.selector.select(left):
            if key.fd == self.output:
                self._pump(once=True)
            else:
                self._drain_wakes()
        if self.asked_at is not None and time.monotonic() >= self.asked_at + GRACE_MAX_S:
            self._kill_all()
            self.ended = (128 + signal.SIGKILL, "stopped", "did not stop when asked, and was killed")
            return
        self._reap()

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, PUMP_BYTES)

    def _pump(self, *, once: bool = False) -> None:
        while True:
            try:
                data = os.read(self.output, PUMP_BYTES)
            except BlockingIOError:
                return
            self.log.write(data)
            if once:
                return

    def _reap(self) -> None:
        """Collect what has ended: the command or hook, and orphans that came to this subreaper."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.child is not None and pid == self.child.pid:
                code = os.waitstatus_to_exitcode(status)
                self.child.returncode = code
                self._child_ended(128 - code if code < 0 else code)

    def _child_ended(self, code: int) -> None:
        if self.asked_at is not None:
            self.ended = (code, "stopped", f"stopped when asked, with exit code {code}")
        elif self.step and code != 0:
            self.ended = (code, "hook_failed", f"the hook {self.step} failed with exit code {code}")
        elif self.step:
            self._next()
        else:
            self.ended = (code, "exited", _exit_sentence(code))

    def _next(self) -> None:
        """Start the next hook, or the command."""
        self.step, command = self.steps.pop(0)
        self.log.say(f"hook {self.step}" if self.step else "start")
        try:
            self.child = subprocess.Popen(  # noqa: S603 - to run the author's program is what this is for
                command,
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=self.pipe,
                stderr=self.pipe,
                start_new_session=True,
                preexec_fn=self._enter_limits,  # noqa: PLW1509 - this process has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            what = f"the hook {self.step}" if self.step else f"the command {command[0]!r}"
            why = error.strerror if isinstance(error, OSError) else "its limits cannot be set"
            self.ended = (127, "hook_failed" if self.step else "command_missing", f"{what} cannot be run: {why}")
            return
        if self.asked_at is not None:  # the signal came between two steps
            self._signal_child(signal.SIGTERM)

    def _enter_limits(self) -> None:
        """In the child, before the program: control groups, its turn when memory is short, its bound of open files."""
        for group in self.groups:
            with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write("0")
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:  # noqa: PTH123
            # The agent may be one of the last to be killed for memory; what attendees run is not.
            if int(file.read()) < 0:
                file.write("0")
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files_max, self.files_max))

    def _oom_kills(self) -> int:
        """How many processes of this workspace the kernel has killed for memory (cgroup v2, or v1)."""
        for name in ("memory.events", "memory.oom_control"):
            try:
                with open(f"{self.memory_group}/{name}", encoding="ascii") as file:  # noqa: PTH123
                    for line in file:
                        if line.startswith("oom_kill "):
                            return int(line.split()[1])
            except OSError:
                continue
        return 0

    def _kill_all(self) -> None:
        """Kill whatever is left below the shim, and wait until it is gone."""
        deadline = time.monotonic() + KILL_MAX_S
        while time.monotonic() < deadline:
            left = descendants(os.getpid())
            if not left and self.child is not None:  # no /proc here: at least the session of what was started
                with contextlib.suppress(OSError):
                    os.killpg(self.child.pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            self._pump()
            # A SIGCHLD ends the wait at once; the bound is for a process that forked while it was being killed.
            self.selector.select(0.05)
            self._drain_wakes()


def _exit_sentence(code: int) -> str:
    if code > 128:
        try:
            return f"killed by {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"exited with code {code}"


def _lock(directory: str) -> int:
    descriptor = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _become_subreaper() -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only here, and only on Linux

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(arguments: list[str]) -> int:
    """Run the shim. Exit code 0 when ``exit.json`` tells the rest."""
    directory = arguments[0]
    try:
        lock = _lock(directory)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return LOCKED_EXIT
        raise
    _become_subreaper()
    shim = Shim(directory)
    write_json(f"{directory}/shim.json", {"pid": os.getpid(), "mark": process_mark(os.getpid())})
    shim.run()
    os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
