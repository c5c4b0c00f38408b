"""The logins of image registries in force: fetched by the mux, handed to ships over their links, kept in memory alone.

Rules: a login that cannot be fetched stops nobody: ships keep what they have, and images that are there need none. It
is fetched again well before a cloud's logins end (Amazon ECR's do after twelve hours).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from mux.config import ConfigError, EventFile
from mux.config.registry_logins import RegistryLogin, registry_logins

log = structlog.get_logger(__name__)

REFRESH_S: Final = 3600.0
RETRY_S: Final = 30.0


class LoginsInForce:
    """Keeps the logins fresh.

    Args:
        file: gives the event file in force.
        environ: as the control process has it.
        changed: called when there are other logins.
    """

    def __init__(self, file: Callable[[], EventFile], environ: Mapping[str, str], changed: Callable[[], None]) -> None:
        self._file = file
        self._environ = environ
        self._changed = changed
        self._again = asyncio.Event()
        self._trouble = ""
        self.logins: tuple[RegistryLogin, ...] = ()

    async def fetch(self) -> bool:
        """Fetch them now; whether that worked."""
        file = self._file()
        try:
            found = await registry_logins(file, file.base, self._environ)
        except ConfigError as error:
            if str(error) != self._trouble:
                log.error("no logins of image registries", why=str(error))
            self._trouble = str(error)
            return False
        self._trouble = ""
        if found != self.logins:
            self.logins = found
            log.info("logins of image registries", hosts=[login.host for login in found])
            self._changed()
        return True

    def fetch_again(self) -> None:
        """Another event file was applied."""
        self._again.set()

    async def keep_fresh(self) -> None:
        """Until cancelled."""
        fetched = True
        while True:
            try:
                async with asyncio.timeout(REFRESH_S if fetched else RETRY_S):
                    await self._again.wait()
            except TimeoutError:
                pass
            self._again.clear()
            fetched = await self.fetch()
