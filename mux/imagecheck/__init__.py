"""What authors have before an event: does an image run as ships will run it, and how does it look in the browser?

Owns the order of the checks, their words, and the loop of `mux image try`. The workspace itself is run by a ship agent
of its own (``ship-agent trial``), with what a mux would tell a ship; this package never runs one by itself.

Rules: nothing outlives a check but the image that was built for it. No event file and no running mux is needed.
"""
