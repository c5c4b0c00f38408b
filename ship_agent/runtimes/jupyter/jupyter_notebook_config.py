"""As jupyter_server_config.py, for the Notebook before version 7."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it

c.NotebookApp.token = os.environ["MUX_TOKEN"]
