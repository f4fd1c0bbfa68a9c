#!/bin/sh
# Fetches bitcoind (Bitcoin Knots, from Debian's backports) with the libraries it wants, once, under
# target/tools/bitcoind: nothing is installed, and no root is needed. Prints the path of a script that runs
# it: the value of OPENAGENTS_TEST_BITCOIND. Fails where the machine's Debian mirror cannot be reached.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/bitcoind}"
run="$home/bitcoind"
if ! "$run" -version >/dev/null 2>&1; then
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || { echo "no Debian for amd64 here" >&2; exit 1; }
    # Another release than this machine's may be needed for it: so apt gets a state of its own, with the
    # machine's mirror, proxy and keys.
    mirror=$(apt-get indextargets --format '$(SITE)' | grep -m1 '/debian/*$' || echo http://deb.debian.org/debian)
    state="$home/apt"
    rm -rf "$home" && mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$home/debs" "$home/root"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    for suite in trixie trixie-backports; do
        echo "deb [signed-by=$keys] $mirror $suite main" >>"$state/sources.list"
    done
    : >"$state/status"
    apt() {
        apt-get -qq -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
            -o Dir::Cache="$state/cache" -o Dir::Etc::sourcelist="$state/sources.list" \
            -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root -o APT::Default-Release=trixie "$@" >&2
    }
    apt update
    (cd "$home/debs" && apt download bitcoin-knots/trixie-backports libc6 libgcc-s1 libstdc++6 \
        libsqlite3-0 libevent-core-2.1-7t64 libevent-extra-2.1-7t64 libevent-pthreads-2.1-7t64 libzmq5 \
        libsodium23 libpgm-5.3-0t64 libnorm1t64 libbsd0 libmd0 libgssapi-krb5-2 libkrb5-3 libk5crypto3 \
        libcom-err2 libkrb5support0 libkeyutils1)
    for deb in "$home"/debs/*.deb; do
        dpkg-deb -x "$deb" "$home/root"
    done
    rm -rf "$home/debs" "$state"
    # Its C library is newer than this machine's, so it is started by the loader that came with it.
    libraries="$home/root/usr/lib/x86_64-linux-gnu"
    {
        echo '#!/bin/sh'
        echo "exec '$libraries/ld-linux-x86-64.so.2' --library-path '$libraries' '$home/root/usr/bin/bitcoind' \"\$@\""
    } >"$run"
    chmod 755 "$run"
    "$run" -version >/dev/null
fi
echo "$run"
