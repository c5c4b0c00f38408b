"""The control channel in the mux: its certificate authority, and the endpoint that turns messages into events."""
