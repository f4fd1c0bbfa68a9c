#!/bin/sh
# Fetches protoc (Debian's protobuf-compiler), once, under target/tools/protoc: nothing is installed, and no
# root is needed. Prints its path: the value of PROTOC. Only the mint that tests the Cashu wallet needs it.
# Fails where there is none and the machine's Debian mirror cannot be reached.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/protoc}"
run="$home/protoc"
if command -v protoc >/dev/null 2>&1; then
    command -v protoc
    exit
fi
if ! "$run" --version >/dev/null 2>&1; then
    rm -rf "$home" && mkdir -p "$home/debs" "$home/root"
    [ -n "$(apt-cache madison protobuf-compiler 2>/dev/null)" ] || apt-get -qq update >&2
    # The library's name ends in a number that is another in each release of Debian.
    library=$(apt-cache depends protobuf-compiler | sed -n 's/.*Depends: \(libprotoc[0-9a-z]*\)$/\1/p')
    base=$(apt-cache depends "$library" | sed -n 's/.*Depends: \(libprotobuf[0-9a-z]*\)$/\1/p')
    (cd "$home/debs" && apt-get -qq download protobuf-compiler "$library" "$base" >&2)
    for deb in "$home"/debs/*.deb; do
        dpkg-deb -x "$deb" "$home/root"
    done
    rm -rf "$home/debs"
    libraries=$(dirname "$(find "$home/root/usr/lib" -name 'libprotoc.so*' | head -n 1)")
    {
        echo '#!/bin/sh'
        echo "LD_LIBRARY_PATH='$libraries' exec '$home/root/usr/bin/protoc' \"\$@\""
    } >"$run"
    chmod 755 "$run"
    "$run" --version >/dev/null
fi
echo "$run"
