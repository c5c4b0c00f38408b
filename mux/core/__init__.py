"""The core: what mux decides, and nothing of how it is done.

Pure by contract (import-linter): no I/O, no clock, no randomness, no wire types. Time is handed in as ``now``,
seconds since the epoch. Everything here can be replayed, property-tested, and run in virtual time.
"""
