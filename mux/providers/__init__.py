"""What makes machines. One protocol (`mux.providers.base`), one backend a file."""
