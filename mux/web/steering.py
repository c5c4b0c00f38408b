"""Which orders fit a rollout as it stands: one answer for the admin API and the organizers' page. Pure."""

from __future__ import annotations

from typing import Literal, get_args

from mux.core.rollout import RolloutState
from mux.core.rollout_views import RolloutView

Order = Literal["pause", "resume", "abort", "rollback"]
ORDERS: tuple[Order, ...] = get_args(Order)


def order_of(word: str) -> Order | None:
    """The order that a form names, or None."""
    return next((order for order in ORDERS if order == word), None)


def misfit(view: RolloutView, order: Order) -> tuple[str, str] | None:
    """Why an order does not fit: a code and a sentence that says what to do instead; None if it does."""
    state, project = view.rollout.state, view.rollout.project
    goes_on = state is RolloutState.RUNNING
    if order == "pause" and not goes_on:
        return "not_running", f"the rollout of {project} is {view.phase}; there is nothing to pause"
    if order in ("resume", "abort") and not (goes_on or state is RolloutState.STOPPED):
        return "not_running", f"the rollout of {project} is {view.phase}; push the image again instead"
    if order == "rollback" and view.rollout.rollback:
        return "is_rollback", f"{project} is being, or was, rolled back; push the image that you want"
    if order == "rollback" and not view.rollout.can_be_taken_back:
        return "nothing_before", f"{project} had this image before it was pushed; push the image that you want"
    return None


def orders_for(view: RolloutView) -> tuple[Order, ...]:
    """The orders that make sense now, as buttons: what would change nothing is left out."""
    useless = {"resume"} if view.rollout.state is RolloutState.RUNNING and not view.rollout.paused else set()
    useless |= {"pause"} if view.rollout.paused else set()
    return tuple(order for order in ORDERS if order not in useless and misfit(view, order) is None)
