"""Folding: when two names or e-mail addresses count as the same. The rule itself is pure and stands in the core."""

from mux.core.fold import fold

__all__ = ["fold"]
