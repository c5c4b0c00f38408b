"""Pushes on containers, good and bad: who is touched, what they see, and what is said."""
