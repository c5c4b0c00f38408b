#!/bin/bash
# Runs before the notebook server starts. A tutorial without its data should fail here, where the organizer sees it, and
# not in the middle of the first exercise.
table="${HOME}/data/bridge-bicycles.csv"
if [ ! -r "${table}" ]; then
  echo "10-check-data: ${table} is missing or cannot be read" >&2
  exit 1
fi
if [ "$(wc -l < "${table}")" -lt 2 ]; then
  echo "10-check-data: ${table} has no rows" >&2
  exit 1
fi
echo "10-check-data: ${table} is fine"
