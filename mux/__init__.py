"""mux: a ready Jupyter environment for every attendee of a workshop.

The parts and who may import whom: docs/explanation/architecture.md, enforced by the contracts in pyproject.toml.
"""

from importlib.metadata import version

__version__ = version("mux")
