"""jupyter_server's own tests, sent through the proxy."""
