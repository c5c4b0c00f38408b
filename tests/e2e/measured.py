"""Tables that are measured row by row: on disk as JSON, and between two marks of a page.

Owns the files. Knows nothing of what a row says. Rules: each row bears the commit and the day that it was measured at;
a row that is measured again takes the place of the one before, the others stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import Field, asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Keyed(Protocol):
    """A dataclass whose ``key`` tells it from every other row."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def key(self) -> Hashable:
        """Which row it is."""


R = TypeVar("R", bound=Keyed)


@dataclass(frozen=True)
class Entry(Generic[R]):
    """A row, and the commit and the day that it was measured at."""

    row: R
    commit: str
    date: str


class Table(Generic[R]):
    """One table.

    Args:
        data: file with the rows.
        page: that shows them, between ``begin`` and ``end``.
        read: makes a row of its JSON.
    """

    def __init__(self, data: Path, page: Path, begin: str, end: str, read: Callable[[dict[str, Any]], R]) -> None:
        self._data = data
        self._page = page
        self._begin, self._end = begin, end
        self._read = read

    def rows(self) -> list[R]:
        """The rows on disk."""
        return [entry.row for entry in self.entries()]

    def entries(self) -> list[Entry[R]]:
        """The rows with their origin."""
        if not self._data.exists():
            return []
        found = []
        for each in json.loads(self._data.read_text("utf-8")):
            commit, date = each.pop("commit"), each.pop("date")
            found.append(Entry(self._read(each), commit, date))
        return found

    def put(self, new: Iterable[R], shown: Callable[[], str], *, commit: str, date: str) -> None:
        """Put rows into the table, and what ``shown`` then says into the page."""
        merged = {each.row.key: each for each in [*self.entries(), *(Entry(row, commit, date) for row in new)]}
        content = [{"commit": each.commit, "date": each.date, **asdict(each.row)} for each in merged.values()]
        self._data.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        before, _, rest = self._page.read_text("utf-8").partition(self._begin)
        after = rest.partition(self._end)[2]
        self._page.write_text(f"{before}{self._begin}\n{shown()}{self._end}{after}", encoding="utf-8")

    def origin(self) -> str:
        """When and at which commits its rows were measured, as a page says it."""
        entries = self.entries()
        commits = ", ".join(f"`{commit}`" for commit in sorted({entry.commit for entry in entries}))
        dates = ", ".join(sorted({entry.date for entry in entries}))
        return f"Measured on {dates} at {commits}"
