"""What ``ship-agent trial`` is told and what it says: one message a line, JSON, over its standard streams.

For one workspace outside of any fleet: somebody wants to know whether an image runs. First comes a `TrialOrder`; the
agent answers `TrialStarted` or `TrialEnded`. At the line ``finish`` it says what it has seen of the workspace
(`TrialClosed`) and destroys it. At the end of its input it destroys it, too: whoever asked may have been killed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from ship_agent.protocol.messages import (
    LOG_TAIL_CHARS_MAX,
    PORTS_MAX,
    Code,
    Count,
    Line,
    Message,
    Name,
    Port,
    Project,
    Text,
)

FINISH = "finish"
"""The line that asks for `TrialClosed`."""
SAVED = "mux-image-check.txt"
"""The name under which whoever asked has the workspace save a file, if it can."""
LISTENING_MAX = 32
"""Addresses that are named of those that a workspace listens on."""
CHANGED_MAX = 100
"""Paths that are named of those that a container wrote to."""

LogTail = Annotated[str, Field(max_length=LOG_TAIL_CHARS_MAX)]


class TrialOrder(Message):
    """Start one workspace.

    Args:
        runtime: what runs it.
        project: what runs.
        port: to listen on, or to publish.
        token: what it is to demand of requests.
        ports: the same for its further ports, by the project's names.
    """

    runtime: Literal["process", "docker"]
    project: Project
    port: Port
    token: Annotated[str, Field(min_length=16, max_length=128, repr=False)]
    ports: Annotated[dict[Name, Port], Field(max_length=PORTS_MAX, default_factory=dict)]


class TrialStarted(Message):
    """It was started; nothing is said of its health.

    Args:
        address: where it answers.
        image_bytes: size of the image.
        user: whom it runs as, with the number where the runtime knows it; None for the agent's own user.
        uid: its number; None if it cannot be told.
        read_only_root: it cannot write outside its home and the directories for temporary files.
        says_read_only: the image says of itself that it works so.
        limits_missing: limits that this machine does not enforce.
    """

    type: Literal["started"] = "started"
    address: Annotated[str, Field(max_length=64)]
    image_bytes: Count
    user: Annotated[str, Field(max_length=128)] | None = None
    uid: Count | None = None
    read_only_root: bool = False
    says_read_only: bool = False
    limits_missing: Annotated[list[Code], Field(max_length=16)]


class TrialEnded(Message):
    """It could not be started, or has ended by itself.

    Args:
        code: as in reports of ships.
        detail: one sentence for people.
        log_tail: the end of its log.
        token_in_log: its log has the token.
    """

    type: Literal["ended"] = "ended"
    code: Code
    detail: Line
    log_tail: LogTail = ""
    token_in_log: bool = False


class TrialClosed(Message):
    """What was seen of it. It is destroyed after this.

    Args:
        memory_peak_bytes: most memory that was seen in use; 0 if none was seen.
        processes_peak: most processes and threads that were seen.
        token_in_log: its log has the token.
        hook: the hook that is still under way; empty if none is.
        changed: paths outside the home and the directories for temporary files that it wrote to; None if the runtime
            cannot tell.
        keeps: a file named `SAVED` is among the attendee's files.
        listening: ``address:port`` of what its programs listen on, as far as that can be told.
        log_tail: the end of its log.
    """

    type: Literal["closed"] = "closed"
    memory_peak_bytes: Count
    processes_peak: Count
    token_in_log: bool
    hook: Annotated[str, Field(max_length=200)]
    changed: Annotated[list[Text], Field(max_length=CHANGED_MAX)] | None
    keeps: bool
    listening: Annotated[list[Text], Field(max_length=LISTENING_MAX)]
    log_tail: LogTail


TrialReport = Annotated[TrialStarted | TrialEnded | TrialClosed, Field(discriminator="type")]
TRIAL_REPORT: TypeAdapter[TrialReport] = TypeAdapter(TrialReport)
