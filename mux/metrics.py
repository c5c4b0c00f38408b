"""Every metric of the mux: name, unit, labels. Rendered on demand from what is so; nothing is counted twice.

Prometheus text format. Names end in their unit; counters end in ``_total``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric, UntypedMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from mux.core.views import FleetStatus

GAUGES: Mapping[str, tuple[str, Callable[[FleetStatus], float]]] = {
    "mux_seats_wanted": ("Attendees and spare seats.", lambda status: status.seats_wanted),
    "mux_seats_total": ("Seats of ships that exist and are not going.", lambda status: status.seats_total),
    "mux_seats_ready": ("Free seats that can be offered now.", lambda status: status.seats_ready),
    "mux_seats_assigned": ("Seats that are somebody's.", lambda status: status.seats_assigned),
    "mux_waiting": ("People in the waiting room.", lambda status: status.waiting),
    "mux_sessions": ("Logins in force.", lambda status: status.sessions),
    "mux_notebook_pages": ("Pages of notebooks that are open.", lambda status: status.notebook_pages),
    "mux_unsaved_documents": (
        "Documents with unsaved edits in open pages of notebooks.",
        lambda status: status.unsaved_documents,
    ),
    "mux_doors_open": ("1 while newcomers get seats.", lambda status: int(status.doors_open)),
    "mux_launching": ("0 when launching is paused or was given up.", lambda status: int(status.launching)),
    "mux_snapshot_lag_seconds": (
        "What would be missing of an attendee's files, at the most, if their ship were lost now.",
        lambda status: status.snapshot_lag_s,
    ),
    "mux_homes_behind": (
        "Homes of attendees of which something would be missing if their ship were lost now.",
        lambda status: status.homes_behind,
    ),
    "mux_projects_broken": (
        "Projects that fail on several ships and hold no seats back.",
        lambda status: len(status.projects_broken),
    ),
}


class _Fleet(Collector):
    def __init__(self, status: FleetStatus, proxies: int, counters: Mapping[str, float]) -> None:
        self._status = status
        self._proxies = proxies
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        for name, (help_text, read) in GAUGES.items():
            yield GaugeMetricFamily(name, help_text, value=read(self._status))
        ships = GaugeMetricFamily("mux_ships", "Ships by state.", labels=["state"])
        for state, count in self._status.ships_by_state.items():
            ships.add_metric([state], count)
        yield ships
        yield GaugeMetricFamily("mux_proxies", "Proxies that are connected.", value=self._proxies)
        yield from _proxy_counters(self._counters)


def _proxy_counters(counters: Mapping[str, float]) -> Iterator[Metric]:
    """What the proxies count, by the names that they give: ``name{label="value"}``."""
    families: dict[str, Metric] = {}
    for full_name, value in sorted(counters.items()):
        name, _, rest = full_name.partition("{")
        labels = {}
        for pair in rest.rstrip("}").split(","):
            key, found, quoted = pair.partition("=")
            if found:
                labels[key] = quoted.strip('"')
        family = families.setdefault(name, UntypedMetricFamily(name, "Counted by the proxies."))
        family.add_sample(name, labels, value)
    yield from families.values()


def metrics_text(status: FleetStatus, proxies: int, proxy_counters: Mapping[str, float]) -> str:
    """All metrics, in the Prometheus text format.

    Args:
        status: the room at a glance.
        proxies: how many are connected.
        proxy_counters: sums of what they count, by metric name with labels.
    """
    registry = CollectorRegistry()
    registry.register(_Fleet(status, proxies, proxy_counters))
    return generate_latest(registry).decode()
