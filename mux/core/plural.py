"""Numbers of things in sentences for people."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """So many of something: ``1 ship``, ``2 ships``; with ``plural``, ``1 person``, ``2 people``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def are(number: int, noun: str = "") -> str:
    """The beginning of what is said of so many: ``1 ship is``, ``2 ships are``, or without a noun ``2 are``."""
    return f"{counted(number, noun) if noun else number} {'is' if number == 1 else 'are'}"
