"""Before every other settings file: requests carry the workspace's token, so no image's own may stand in its place."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it

# The first is jupyter_server 2's, the second 1's.
c.IdentityProvider.token = c.ServerApp.token = os.environ["MUX_TOKEN"]
