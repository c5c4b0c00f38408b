"""The ship agent: makes true on one machine what the mux wants of it, and reports what is so.

Never imports the mux. What both sides must agree on is `ship_agent.protocol`.
"""
