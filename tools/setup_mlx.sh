#!/bin/sh
# Installs MLX's server (its build for processors, on Linux) and the tiny model as safetensors, once, under
# target/tools/mlx. Prints the path of the server's program: the value of OPENAGENTS_TEST_MLX. The model is in
# `tiny-hf` two folders above it. The server compiles as it runs, so a C++ compiler is needed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
home="${1:-$root/target/tools/mlx}"
python="$home/venv/bin/python"
command -v g++ >/dev/null
if ! "$python" -c 'import gguf, mlx_lm, numpy' 2>/dev/null; then
    python3 -m venv --clear "$home/venv" >&2
    "$python" -m pip install --quiet --disable-pip-version-check \
        'mlx[cpu]==0.32.4' mlx-lm==0.32.2 gguf==0.19.0 numpy >&2
fi
# The weights are the same bytes each time, so a model that is there is the right one.
if ! [ -s "$home/tiny-hf/model.safetensors" ]; then
    "$python" "$root/tools/make_tiny_gguf.py" --mode bigram --name tiny --out "$home" --hf >&2
fi
echo "$home/venv/bin/mlx_lm.server"
