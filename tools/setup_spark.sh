#!/bin/sh
# Installs the Breez SDK that the Spark wallet is tested with, once, under target/tools/spark: the pinned version,
# its hash checked. Prints the path of its Python: the value of OPENAGENTS_TEST_SPARK.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/spark}"
python="$home/venv/bin/python"
pinned=$(sed -n 's/^breez-sdk-spark==\([0-9.]*\).*/\1/p' "$root/wallets/spark/requirements.txt")
look="import breez_sdk_spark, importlib.metadata, sys; sys.exit(importlib.metadata.version('breez-sdk-spark') != '$pinned')"
if ! "$python" -I -c "$look" 2>/dev/null; then
    python3 -m venv --clear "$home/venv" >&2
    "$python" -I -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --only-binary :all: --requirement "$root/wallets/spark/requirements.txt" >&2
fi
echo "$python"
