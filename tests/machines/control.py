"""The control process of the rig: mux's own, but for its provider. Started in place of ``python -m mux.daemon``."""

from __future__ import annotations

import sys

from mux.config import EventFile
from mux.daemon import __main__ as daemon
from mux.daemon import compose
from mux.daemon.machines import provider_of
from mux.providers.base import Provider
from tests.machines.containers import ContainerProvider


def provider(file: EventFile, *_: object) -> Provider:
    return ContainerProvider.of_environment(file.event.name)


if __name__ == "__main__":
    setattr(compose, provider_of.__name__, provider)
    sys.exit(daemon.main())
