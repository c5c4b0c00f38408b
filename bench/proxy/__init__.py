"""The data plane beside nginx, HAProxy and others: see ``python -m bench.proxy --help``."""
