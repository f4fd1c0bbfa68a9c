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

# A bus that starts nothing by itself: a second keyring, which outlives it, could be among that.
cat >"$folder/bus.conf" <<END
<busconfig>
  <type>session</type>
  <listen>unix:dir=$folder/run</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
END
exec dbus-run-session --config-file="$folder/bus.conf" -- sh -c '
    printf password | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 &
    keyring=$!
    until dbus-send --session --print-reply --dest=org.freedesktop.DBus /org/freedesktop/DBus \
        org.freedesktop.DBus.GetNameOwner string:org.freedesktop.secrets >/dev/null 2>&1
    do
        kill -0 "$keyring" || exit 99
        sleep 0.05
    done
    status=0
    "$@" || status=$?
    kill "$keyring"
    exit "$status"' session "$@"
