"""The conformance suite of the runtimes, and what belongs to one of them alone."""
