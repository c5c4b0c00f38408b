"""Attendees' changes, kept on the mux: what outlives a ship."""
