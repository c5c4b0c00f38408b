"""A whole mux, as people meet it: real processes, real JupyterLab, a real browser."""
