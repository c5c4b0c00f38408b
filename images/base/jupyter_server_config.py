"""Settings beneath everybody's own: a command line, or the attendee's own configuration, goes before them."""

import os

c = get_config()  # noqa: F821 - traitlets gives it

c.ServerApp.ip = "0.0.0.0"  # noqa: S104 - a container's own address; who reaches it is the runtime's to decide
c.ServerApp.port = int(os.environ.get("JUPYTER_PORT") or 8888)
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
# Behind a proxy the host is never localhost; the token is what keeps strangers out.
c.ServerApp.allow_remote_access = True
if base_path := os.environ.get("MUX_BASE_PATH"):
    c.ServerApp.base_url = base_path
# Whoever ends a workspace is the mux: no button of Jupyter's own.
c.ServerApp.quit_button = False
# No question about news and no look at a registry: a workshop may have no way out.
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
c.LabApp.extension_manager = "readonly"
