#!/bin/sh
# Fetches llama.cpp's own `llama-server` (from Debian's unstable release) with the libraries it wants, once, under
# target/tools/llama-server: nothing is installed, and no root is needed. Prints the path of a script that runs it:
# the value of OPENAGENTS_TEST_LLAMA_SERVER. Fails where the machine's Debian mirror cannot be reached.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/llama-server}"
run="$home/llama-server"
if ! "$run" --version >/dev/null 2>&1; then
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || { echo "no Debian for amd64 here" >&2; exit 1; }
    # Another release than this machine's is needed for it: so apt gets a state of its own, with the machine's
    # mirror, proxy and keys.
    mirror=$(apt-get indextargets --format '$(SITE)' | grep -m1 '/debian/*$' || echo http://deb.debian.org/debian)
    state="$home/apt"
    rm -rf "$home" && mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$home/debs" "$home/root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$state/sources.list"
    : >"$state/status"
    apt() {
        apt-get -qq -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
            -o Dir::Cache="$state/cache" -o Dir::Etc::sourcelist="$state/sources.list" \
            -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root "$@" >&2
    }
    apt update
    (cd "$home/debs" && apt download llama.cpp-tools libllama0 libggml0 libc6 libgcc-s1 libstdc++6 libgomp1 \
        libssl3t64 zlib1g libzstd1)
    for deb in "$home"/debs/*.deb; do
        dpkg-deb -x "$deb" "$home/root"
    done
    rm -rf "$home/debs" "$state"
    # Its C library is newer than this machine's, so it is started by the loader that came with it.
    libraries="$home/root/usr/lib/x86_64-linux-gnu"
    # It would look for the code for this processor beside its loader. The oldest kind runs everywhere.
    cpu=$(find "$home/root" -name 'libggml-cpu-x64.so' -o -name 'libggml-cpu-sse42.so' -o -name 'libggml-cpu.so' | head -n 1)
    {
        echo '#!/bin/sh'
        echo "export GGML_BACKEND_PATH='$cpu'"
        echo "exec '$libraries/ld-linux-x86-64.so.2' --library-path '$libraries:$libraries/llama' '$home/root/usr/bin/llama-server' \"\$@\""
    } >"$run"
    chmod 755 "$run"
    "$run" --version >/dev/null 2>&1
fi
echo "$run"
