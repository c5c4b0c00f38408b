"""What all listings share: filters with wildcards, and pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.wire import Params

_T = TypeVar("_T")
FILTER_VALUES_MAX = 200
PAGE_MAX = 1000


def matching(
    things: Iterable[_T],
    params: Params,
    facts: Callable[[_T], Mapping[str, Sequence[str]]],
    tags: Callable[[_T], Mapping[str, str]] = lambda _thing: {},
) -> list[_T]:
    """What passes a request's filters: every filter, by any of its values.

    Args:
        facts: what a thing can be filtered by. A filter of another name is refused.
        tags: for the filters ``tag:KEY`` and ``tag-key``.
    """
    filters = [(one["Name"], one.get("Values", [])) for one in params.get("Filters", [])]
    if sum(len(values) for _name, values in filters) > FILTER_VALUES_MAX:
        raise ApiError("FilterLimitExceeded", f"The maximum number of filter values is {FILTER_VALUES_MAX}.")

    def passes(thing: _T) -> bool:
        known, labels = facts(thing), tags(thing)
        for name, values in filters:
            if name.startswith("tag:"):
                have: Sequence[str] = [labels[name[4:]]] if name[4:] in labels else []
            elif name == "tag-key":
                have = list(labels)
            elif name in known:
                have = known[name]
            else:
                raise ApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
            if not any(fnmatchcase(item, _pattern(value)) for item in have for value in values):
                return False
        return True

    return [thing for thing in things if passes(thing)]


def _pattern(value: str) -> str:
    """EC2 knows ``*`` and ``?``, and no sets in brackets."""
    return value.replace("[", "[[]")


def page(
    things: Sequence[_T],
    params: Params,
    size_max: int,
    number: Callable[[_T], int],
    *,
    least: int = 5,
) -> tuple[Sequence[_T], str | None]:
    """One page of things in a fixed order, and the token for the next one.

    Args:
        number: rises from thing to thing; a token names the number that the next page begins at, so that what comes
            and goes in between neither shifts a page nor breaks it.
        least: the smallest page that may be asked for.
    """
    size = params.get("MaxResults", size_max)
    if not least <= size <= PAGE_MAX:
        raise ApiError(
            "InvalidParameterValue",
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting {least}..{PAGE_MAX}.",
        )
    if "NextToken" in params:
        begin = _begin(params["NextToken"])
        things = [thing for thing in things if number(thing) >= begin]
    shown = things[:size]
    if size >= len(things):
        return shown, None
    return shown, base64.urlsafe_b64encode(f"from {number(things[size])}".encode()).decode()


def _begin(token: str) -> int:
    try:
        word, _, begin = base64.urlsafe_b64decode(token).decode().partition(" ")
        if word == "from":
            return int(begin)
    except (ValueError, binascii.Error):
        pass
    raise ApiError("InvalidNextToken", "The token is not valid.")
