"""Ships cut off from the mux, from the attendees, or from both: real processes in network namespaces."""
