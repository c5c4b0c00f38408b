"""A ship is lost while somebody works on it: where their files are, and how old."""
