#!/bin/sh
# Makes a model of the size, and so about the speed, of a small real one (90 million parameters of noise, 95 MB),
# once, beside the tiny ones: for what a stream costs beside its words. Prints its path.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(sh "$root/tools/setup_llama.sh")
home="$root/target/tools/llama"
if ! [ -s "$home/middle.gguf" ]; then
    "$python" "$root/tools/make_tiny_gguf.py" --mode random --name middle --out "$home" --quant Q8_0 \
        --dim 768 --layers 12 --heads 12 --kv 4 --ff 2048 >&2
fi
echo "$home/middle.gguf"
