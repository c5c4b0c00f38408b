#!/bin/bash
# Starts a command as the notebook's user, after the hooks. Without a command: the notebook server.
#
# As root it first gives the user the name and ids that NB_USER, NB_UID and NB_GID ask for (CHOWN_HOME=yes: and the home
# with everything in it), and drops every privilege before the command. As anybody else it changes nothing: that works
# without any capability, on a read-only root.
#
# A hook that fails ends the start, and the last line of the log says which one it was.

[ $# -gt 0 ] || set -- start-notebook.py

say() { echo "start.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# *.sh are read into this shell, so that a variable that one sets is there for the command; what may be executed, is.
run_hooks() {
  local hook code
  for hook in "$1"/*; do
    code=0
    if [ -f "$hook" ] && [ "$hook" != "${hook%.sh}" ]; then
      echo "Sourcing shell script: $hook"
      # In a function of its own: a `return` of the hook ends the hook. An `exit` of it is caught below.
      running=$hook
      read_hook "$hook"
      code=$?
      running=
      set +eu  # whatever the hook has set is not meant for what follows
    elif [ -f "$hook" ] && [ -x "$hook" ]; then
      echo "Running executable: $hook"
      "$hook"
      code=$?
    fi
    [ "$code" = 0 ] || hook_failed "$hook" "$code"
  done
}

read_hook() {
  local hook=$1
  shift
  # shellcheck disable=SC1090
  . "$hook"
}

hook_failed() {
  running=
  say "the hook $1 ended with exit code $2; the server is not started"
  [ "$2" != 0 ] || exit 1
  exit "$2"
}

# A hook that calls `exit`, with whatever code, has ended the start: the server would not run.
running=
trap 'code=$?; [ -z "$running" ] || hook_failed "$running" "$code"' EXIT

as_root() {
  local user=${NB_USER:-jovyan} uid=${NB_UID:-1000} gid=${NB_GID:-100}
  [[ $uid =~ ^[0-9]+$ && $gid =~ ^[0-9]+$ ]] || die "NB_UID and NB_GID must be numbers, not '$uid' and '$gid'"
  [[ $user =~ ^[a-z_][a-z0-9_-]{0,31}$ ]] || die "NB_USER must be a user's name, not '$user'"
  if [ "$uid" = 0 ]; then
    export HOME=/root
    before=()
    return
  fi
  export HOME=/home/jovyan
  [ -z "$(id -u "$user" 2>/dev/null)" ] || [ "$user" = jovyan ] || die "NB_USER must not be $user: the image has one"
  # Ids before the name: usermod follows the home as it stands in /etc/passwd.
  [ "$(id -u jovyan)" = "$uid" ] || usermod --non-unique --uid "$uid" jovyan || die "cannot give jovyan the id $uid"
  if [ "$(id -g jovyan)" != "$gid" ]; then
    getent group "$gid" >/dev/null || groupadd --gid "$gid" "$user-group" || die "cannot make a group $gid"
    usermod --gid "$gid" jovyan || die "cannot give jovyan the group $gid"
  fi
  if [ "$user" != jovyan ]; then
    usermod --login "$user" --home "/home/$user" jovyan || die "cannot rename jovyan to $user"
    [ -e "/home/$user" ] || ln -s jovyan "/home/$user"
    export HOME=/home/$user
  fi
  if [[ ${CHOWN_HOME:-} =~ ^(1|yes)$ ]]; then
    chown -R "$uid:$gid" "$HOME/" || die "cannot give $HOME to $user"
  elif [ "$(stat -Lc %u "$HOME")" != "$uid" ]; then
    chown "$uid:$gid" "$HOME/" || die "cannot give $HOME to $user"
  fi
  export USER=$user LOGNAME=$user
  before=(setpriv "--reuid=$uid" "--regid=$gid" --init-groups --inh-caps=-all --no-new-privs)
}

before=()
if [ "$(id -u)" = 0 ]; then
  run_hooks /usr/local/bin/start-notebook.d
  as_root
else
  for name in NB_UID:-u NB_GID:-g; do
    wanted=${name%%:*}
    [ "${!wanted:-}" = "$(id "${name##*:}")" ] || [ -z "${!wanted:-}" ] ||
      say "$wanted=${!wanted} is not in force: it takes a container that starts as root"
  done
  export USER=${NB_USER:-jovyan} LOGNAME=${NB_USER:-jovyan}
  run_hooks /usr/local/bin/start-notebook.d
fi
cd "${HOME}" || die "cannot enter $HOME"
run_hooks /usr/local/bin/before-notebook.d
trap - EXIT
[ -z "${NB_UMASK:-}" ] || umask "$NB_UMASK"
echo "Executing the command: $1"
exec "${before[@]}" "$@"
