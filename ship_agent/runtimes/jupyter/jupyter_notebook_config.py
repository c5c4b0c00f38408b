"""As jupyter_server_config.py, for the Notebook before version 7."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it

c.NotebookApp.token = os.environ["MUX_TOKEN"]
c.NotebookApp.port = int(os.environ["MUX_PORT"])
c.NotebookApp.base_url = os.environ["MUX_BASE_PATH"]
c.NotebookApp.allow_remote_access = True
c.NotebookApp.allow_root = os.geteuid() == 0
c.NotebookApp.open_browser = False
c.NotebookApp.certfile = c.NotebookApp.keyfile = ""
c.NotebookApp.quit_button = False
c.NotebookApp.shutdown_no_activity_timeout = 0
if address := os.environ.get("MUX_ADDRESS"):
    c.NotebookApp.ip = address
