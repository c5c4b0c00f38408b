"""The composition root: builds the control process from its parts, wires them, and stops them in order.

Owns construction and nothing else; every decision is the core's, every rule some part's. Modules: prepare (what must be
so before anything listens), compose (the control process), people (names of roster entries, for their secrets).
"""
