#!/bin/sh
# Fetches the tools of the recipes (espeak-ng, ffmpeg, tesseract with English, clamscan) from this machine's
# Debian mirror, once, under target/tools/media: nothing is installed, and no root is needed. A tool that is
# installed is taken as it is. ClamAV's own signatures are not fetched; a base of one line that knows the test
# string of EICAR stands in for them. Prints the folder of the programs: the value of OPENAGENTS_TEST_MEDIA.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/media}"
works() {
    "$home/bin/espeak-ng" --version >/dev/null 2>&1 && "$home/bin/ffmpeg" -version >/dev/null 2>&1 &&
        "$home/bin/tesseract" --list-langs 2>&1 | grep -qx eng && "$home/bin/clamscan" --version >/dev/null 2>&1
}
if ! works; then
    state="$home/apt"
    rm -rf "$home" && mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$home/root" "$home/bin"
    apt() {
        apt-get -qq -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o Debug::NoLocking=1 \
            -o APT::Sandbox::User=root "$@" >&2
    }
    apt update
    apt install -y --no-install-recommends --download-only \
        espeak-ng ffmpeg tesseract-ocr tesseract-ocr-eng clamav
    for deb in "$state"/cache/archives/*.deb; do
        [ -e "$deb" ] && dpkg-deb -x "$deb" "$home/root"
    done
    rm -rf "$state"
    multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
    libraries="$home/root/usr/lib/$multiarch"
    # Some libraries lie in folders of their own, which an installation would link to.
    paths="$libraries:$home/root/lib/$multiarch:$libraries/blas:$libraries/lapack:$libraries/pulseaudio"
    tessdata=$(find "$home/root" -type d -name tessdata | head -n 1)
    for tool in espeak-ng ffmpeg tesseract clamscan; do
        program="$home/root/usr/bin/$tool"
        {
            echo '#!/bin/sh'
            if [ -x "$program" ]; then
                echo "export LD_LIBRARY_PATH='$paths'"
                [ -d "$libraries/espeak-ng-data" ] && echo "export ESPEAK_DATA_PATH='$libraries/espeak-ng-data'"
                [ -n "$tessdata" ] && echo "export TESSDATA_PREFIX='$tessdata'"
                echo "exec '$program' \"\$@\""
            else
                echo "exec '$(command -v "$tool")' \"\$@\""
            fi
        } >"$home/bin/$tool"
        chmod 755 "$home/bin/$tool"
    done
    mkdir -p "$home/signatures"
    printf '44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n' >"$home/signatures/test.hdb"
    works
fi
echo "$home/bin"
