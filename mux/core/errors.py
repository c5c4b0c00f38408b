"""Errors of the core: each one a defect of the program, never a fault of a person or a machine."""

from __future__ import annotations

from collections.abc import Sequence


class CoreError(Exception):
    """Base of the core's errors. ``code`` for machines, the message for people."""

    code = "core"


class InvalidTransitionError(CoreError):
    """A lifecycle was asked to go where its table does not lead. Tells both states and how the first was reached.

    Args:
        subject: which ship or workspace.
        before: the state it is in.
        after: the state that was asked for.
        history: states that it was in, oldest first.
    """

    code = "invalid_transition"

    def __init__(self, subject: str, before: str, after: str, history: Sequence[str]) -> None:
        story = " → ".join([*history, f"[{after}]"])
        super().__init__(f"{subject} cannot go from {before} to {after}: {story}")
        self.subject = subject
        self.before = before
        self.after = after
        self.history = tuple(history)


class InvariantError(CoreError):
    """Something that must always hold does not. Every broken rule is named at once."""

    code = "invariant"

    def __init__(self, broken: Sequence[str]) -> None:
        super().__init__("; ".join(broken))
        self.broken = tuple(broken)
