"""Servers of others, as strict as the real ones, for what cannot run here."""
