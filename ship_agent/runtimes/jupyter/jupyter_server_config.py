"""Before every other settings file, and after the command line: where this server answers, and what it demands.

An image whose own script starts Jupyter is given no arguments: this is how it hears. ``MUX_ADDRESS`` is there in
containers alone.
"""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it

# Requests carry the workspace's token, so no image's own may stand in its place. The first is jupyter_server 2's, the
# second 1's.
c.IdentityProvider.token = c.ServerApp.token = os.environ["MUX_TOKEN"]
c.ServerApp.port = int(os.environ["MUX_PORT"])
c.ServerApp.base_url = os.environ["MUX_BASE_PATH"]
c.ServerApp.allow_remote_access = True
c.ServerApp.allow_root = os.geteuid() == 0
c.ServerApp.open_browser = False
# The data plane ends TLS.
c.ServerApp.certfile = c.ServerApp.keyfile = ""
# Whoever ends a workspace is the mux: neither a button nor a timer of Jupyter's own.
c.ServerApp.quit_button = False
c.ServerApp.shutdown_no_activity_timeout = 0
if address := os.environ.get("MUX_ADDRESS"):
    c.ServerApp.ip = address
