"""The roster behind the API's tests: the real one, with hashing made cheap."""

from __future__ import annotations

from mux.auth.passwords import Busy, Passwords
from mux.auth.roster import Roster, RosterRefusedError
from mux.auth.roster_csv import RosterFaultsError
from mux.keys import Keyring
from mux.store.base import Store
from mux.web.admin_api_deps import RosterAdmin

REFUSALS: tuple[type[Exception], ...] = (RosterFaultsError, RosterRefusedError, Busy)


def make_roster(store: Store, keys: Keyring) -> RosterAdmin:
    """A roster on ``store``."""
    return Roster(store, keys, Passwords())
