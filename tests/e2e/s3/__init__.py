"""Attendees' files in S3, from end to end: real processes, and an S3 that looks closely and fails on demand."""
