"""Why a container has ended, in a code for reports and a sentence for people.

Pure: from what the engine says, what was seen, and the end of the log.
"""

from __future__ import annotations

import contextlib
import signal

from ship_agent.runtimes.docker_logs import hook_under_way, says_disk_full, says_other_platform

END_LINES = 500
"""Lines of a log that are looked at when a container has ended."""
LAST_LINES = 50
"""Last lines of those, which may say why."""
EXIT_KILLED = 137
EXIT_COMMAND_MISSING = 127
"""As shells and inits have it (POSIX, Shell Command Language, 2.8.2)."""


def why_ended(code: int, *, oom: bool, bad_hook: str, program: str, log_text: str) -> tuple[str, str]:
    """Reason and sentence for the end of a run that nobody asked for.

    Args:
        code: the container's exit code.
        oom: the engine says that a process of it was killed for memory.
        bad_hook: a hook that was seen to fail.
        program: first word of its command; empty for the image's own.
        log_text: the end of its log.
    """
    lines = log_text.splitlines()
    if bad_hook:
        return "hook_failed", f"the hook {bad_hook} has failed; the image went on, so the start was ended"
    if oom and code == EXIT_KILLED:
        return "oom", "killed for using more memory than the project's limit"
    if code and (hook := hook_under_way(lines)):
        return "hook_failed", f"the hook {hook} has failed with exit code {code}"
    if code and says_other_platform(lines[-LAST_LINES:]):
        return "image_invalid", (
            "its programs are not for this machine's processor; build the image for the platform of the ships"
        )
    if code == EXIT_COMMAND_MISSING:
        return command_missing(program)
    if code and says_disk_full(lines[-LAST_LINES:]):
        return "disk_full", f"exited with code {code}; its log says that the disk is full"
    if code > 128:
        with contextlib.suppress(ValueError):
            return "exited", f"killed by {signal.Signals(code - 128).name}"
    return "exited", f"exited with code {code}"


def command_missing(program: str) -> tuple[str, str]:
    """Reason and sentence for a command that the image does not have."""
    named = f"no program {program[:200]}" if program else "not the program that it starts with"
    return "command_missing", f"there is {named} in the image; mend the project's command or the image"
