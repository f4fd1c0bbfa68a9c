#!/bin/sh
# Installs the llama.cpp server and the tiny model that the `openai` backend is tested against, once,
# under target/tools/llama. Prints the path of its Python: the value of OPENAGENTS_TEST_LLAMA.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/llama}"
python="$home/venv/bin/python"
if ! "$python" -c 'import gguf, numpy, xllamacpp' 2>/dev/null; then
    python3 -m venv --clear "$home/venv" >&2
    "$python" -m pip install --quiet --disable-pip-version-check \
        xllamacpp==2026.10.11549 gguf==0.19.0 numpy >&2
fi
# The weights are the same bytes each time, so a model that is there is the right one.
if ! [ -s "$home/tiny.gguf" ]; then
    "$python" "$root/tools/make_tiny_gguf.py" --mode bigram --name tiny --out "$home" >&2
fi
# One that goes on until it has said as much as it may: for what happens in the middle of an answer.
if ! [ -s "$home/noise.gguf" ]; then
    "$python" "$root/tools/make_tiny_gguf.py" --mode random --name noise --out "$home" >&2
fi
echo "$python"
