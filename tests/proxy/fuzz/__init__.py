"""A fuzz target of the data plane: mutated bytes, whole exchanges, and rules that always hold.

``python -m tests.proxy.fuzz --seconds N`` (`make fuzz`) looks for breaches; what it finds it prints and writes down.
"""
