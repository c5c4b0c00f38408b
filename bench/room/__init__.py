"""A full room on one machine: every attendee at once, a push in the middle, and processes killed beside it."""
