"""The documentation: links lead somewhere, every page is listed."""
