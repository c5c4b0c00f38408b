#!/bin/bash
# Starts nginx and, as jovyan, Jupyter behind it. The home is chowned at every start.
set -eu
base=/${CONTAINER_BASE_URL:?}
: "${CONTAINER_AUTH_TOKEN:?}"
sed "s|@BASE@|$base|g" /etc/nginx/camp.conf.in >/run/camp.conf
nginx -c /run/camp.conf
# Jupyter reads its token there; on the command line everybody would see it.
export JUPYTER_TOKEN=$CONTAINER_AUTH_TOKEN CHOWN_HOME=yes
eval "flags=(${NOTEBOOK_FLAGS:-})"
exec start.sh start-notebook.py --ServerApp.ip=127.0.0.1 "--ServerApp.base_url=$base/jupyter/" "${flags[@]}"
