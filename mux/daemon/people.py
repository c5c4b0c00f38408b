"""Names of roster entries by id, for the secrets of their workspaces.

The renderer of desired states must not wait, so what it may need is looked up before: only people on a ship that is
about to be told, only while some project has secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mux.config import Secrets, secrets_for
from mux.core.fold import fold
from mux.core.model import ProjectName, UserId
from mux.store.base import Store


class SecretsInForce:
    """The secrets in force, and whose they are.

    Args:
        store: the roster.
        secrets: as applied.
    """

    def __init__(self, store: Store, secrets: Secrets) -> None:
        self._store = store
        self._secrets = secrets
        self._names: dict[UserId, tuple[str, ...]] = {}

    def replace(self, secrets: Secrets) -> None:
        """Another event file was applied."""
        self._secrets = secrets

    async def know(self, users: Iterable[UserId]) -> None:
        """Look up the names of people that are not known yet."""
        if not self._secrets:
            return
        for user in users:
            if user not in self._names and (entry := await self._store.user(user)) is not None:
                self._names[user] = tuple(fold(name) for name in (entry.name, entry.email) if name)

    def of(self, project: ProjectName, user: UserId | None) -> Mapping[str, str]:
        """Variables of a project for an attendee, or for nobody in particular."""
        return secrets_for(self._secrets, project, self._names.get(user, ()) if user is not None else ())
