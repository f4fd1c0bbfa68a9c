#!/bin/sh
# Locks the keyring of the session that tools/keyring_session.sh has started.
exec dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets \
    org.freedesktop.Secret.Service.Lock array:objpath:/org/freedesktop/secrets/collection/login >/dev/null
