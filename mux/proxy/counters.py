"""Counters of one proxy process, and which attendees are active.

Owns the numbers between two batches. Names are Prometheus', with labels in braces; a counter that nothing has
happened to is not sent.
"""

from __future__ import annotations

from collections import defaultdict

from mux.core.feed import Counters
from mux.core.routes import RouteKey


class Tally:
    """Counts since the start of the process."""

    def __init__(self) -> None:
        self.values: defaultdict[str, float] = defaultdict(float)
        self.active: set[RouteKey] = set()
        self.statuses = [0] * 6
        """Final responses by the first digit of their status."""

    def response(self, status: int) -> None:
        """A final response was sent, the upstream's or an own one."""
        self.statuses[status // 100] += 1

    def refused(self, code: str) -> None:
        """An own answer was sent."""
        self.values[f'mux_proxy_refusals_total{{reason="{code}"}}'] += 1

    def broken_off(self, reason: str) -> None:
        """A response ended before it was whole."""
        self.values[f'mux_proxy_broken_off_total{{reason="{reason}"}}'] += 1

    def closed(self, reason: str) -> None:
        """A client connection was closed over a limit, without an answer that would say so."""
        self.values[f'mux_proxy_closed_total{{reason="{reason}"}}'] += 1

    def upstream_failed(self, kind: str) -> None:
        """An upstream did not answer as it should."""
        self.values[f'mux_proxy_upstream_failures_total{{kind="{kind}"}}'] += 1

    def count(self, name: str, by: float = 1) -> None:
        """Any other counter; ``name`` without the prefix."""
        self.values["mux_proxy_" + name] += by

    def batch(self) -> Counters:
        """What goes to the control process; the active ones start anew."""
        active, self.active = tuple(sorted(self.active)), set()
        requests = {
            f'mux_proxy_requests_total{{code="{digit}xx"}}': float(count)
            for digit, count in enumerate(self.statuses)
            if count
        }
        return Counters(dict(self.values) | requests, active)
