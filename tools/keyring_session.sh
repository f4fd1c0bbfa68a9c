#!/bin/sh
# Runs a command beside a keyring of its own: a session bus and an unlocked gnome-keyring, both of which
# live in FOLDER and end with the command. Nobody's real keyring is seen or touched.
#   tools/keyring_session.sh FOLDER COMMAND [ARGUMENT…]
set -eu
folder=$1
shift
mkdir -p "$folder/run"
chmod 700 "$folder/run"
unset DISPLAY WAYLAND_DISPLAY DBUS_SESSION_BUS_ADDRESS
export HOME="$folder" XDG_RUNTIME_DIR="$folder/run"
export XDG_DATA_HOME="$folder/share" XDG_CONFIG_HOME="$folder/config"
exec dbus-run-session -- sh -c '
    printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1
    exec "$@"' session "$@"
