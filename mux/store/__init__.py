"""What is wanted, kept on disk. One protocol (`mux.store.base`), one backend a file."""
