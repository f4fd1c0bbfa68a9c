#!/usr/bin/env python3
"""A real llama.cpp server for the tests of the `openai` backend: `llama_server.py MODEL [PORT]`.

Prints its address on one line when it listens, and ends when its standard input does, so that a test
that dies leaves no server behind. Needs what `setup_llama.sh` installs.
"""
import sys

import xllamacpp


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {"tiny"}
    params.hostnames = ["127.0.0.1"]
    # Port 0 lets the system choose, so that tests can run side by side.
    params.port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    params.n_ctx = 2048
    params.n_parallel = 1
    # More threads than idle cores make a model this small slower, not faster.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


main()
