"""``python -m mux.cli``: the same as ``mux``."""

from __future__ import annotations

import sys

from mux.cli import main

if __name__ == "__main__":
    sys.exit(main())
