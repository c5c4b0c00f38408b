"""The data plane: a strict HTTP/1.1 reverse proxy of raw protocols, fed with routes and sessions.

Bytes are decided on in sans-I/O modules (``grammar``, ``request``, ``inbound``, ``response``, ``body``, ``cookies``,
``routing``, ``rewrite``, ``pages``); thin shells around them own the sockets (``client``, ``exchange``, ``upstream``,
``tunnel``, ``feedclient``, ``plane``).
Knows the core's table and feed, and nothing else of mux: no engine, no store, no database, no configuration.
"""
