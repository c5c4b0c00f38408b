"""Measurements: timing belongs here, never into a test."""
