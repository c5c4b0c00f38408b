"""Tables of routes: what a delta does to one that is changed in place, and to one that is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import Delta, Route, RouteTable, SessionEntry, TableInForce

SESSIONS = st.dictionaries(
    st.sampled_from("abc").map(SessionHash),
    st.none() | st.builds(SessionEntry, st.sampled_from("uv").map(UserId), st.just(1.0)),
)
ROUTES = st.dictionaries(
    st.tuples(st.sampled_from("uv").map(UserId), st.just(ProjectName("intro"))),
    st.none() | st.builds(Route, st.sampled_from("xy").map(WorkspaceId), st.just("192.0.2.1"), st.just(1), st.just("")),
)
DELTAS = st.lists(st.builds(Delta, SESSIONS, ROUTES))


@given(DELTAS)
def test_a_table_that_is_changed_in_place_is_the_one_that_deltas_make(deltas: list[Delta]) -> None:
    table, in_force = RouteTable(), TableInForce()
    for delta in deltas:
        before = table
        table = table.apply(delta)
        assert before.diff(table) == in_force.table.diff(table)
        in_force.apply(delta)
        assert in_force.table == table


@given(DELTAS, DELTAS)
def test_the_difference_leads_from_one_table_to_the_other(first: list[Delta], second: list[Delta]) -> None:
    old, new = RouteTable(), RouteTable()
    for delta in first:
        old = old.apply(delta)
    for delta in second:
        new = new.apply(delta)
    in_force = TableInForce(old)
    in_force.apply(old.diff(new))
    assert in_force.table == new
