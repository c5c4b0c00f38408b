"""The metrics page: what is so, in the Prometheus text format."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mux.core.views import fleet_status
from mux.metrics import GAUGES, metrics_text
from tests.core.room import Room


def test_every_metric_has_help_and_a_value() -> None:
    room = Room()
    room.settle()
    room.log_in("ada")
    for machine in room.machines.values():
        machine.behind_s = 2.5
    room.settle()
    text = metrics_text(
        fleet_status(room.fleet.world),
        1,
        {'mux_proxy_requests_total{code="2xx"}': 5.0, "mux_proxy_connections": 2.0},
    )
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(GAUGES) <= set(families)
    assert all(family.documentation for family in families.values())
    assert families["mux_seats_assigned"].samples[0].value == 1
    assert families["mux_snapshot_lag_seconds"].samples[0].value == 2.5
    assert families["mux_homes_behind"].samples[0].value == 1
    assert {s.labels["state"]: s.value for s in families["mux_ships"].samples} == {"available": 1, "running": 1}
    counted = [sample for family in families.values() for sample in family.samples if sample.labels.get("code")]
    assert [(sample.name, sample.value) for sample in counted] == [("mux_proxy_requests_total", 5.0)]


def test_every_metric_is_documented_and_nothing_else() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "admin-api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(mux_[a-z_]+)(?:\{state\})?` \|", page, re.MULTILINE))
    families = text_string_to_metric_families(metrics_text(fleet_status(Room().fleet.world), 1, {}))
    assert named == {family.name for family in families}
