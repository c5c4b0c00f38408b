"""The control protocol, shared with the mux: messages, codec and the sans-I/O link. Pure by contract."""
