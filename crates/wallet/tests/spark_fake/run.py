"""Runs the program of the Spark wallet, whose path is the argument, on the imitation of its SDK in this folder."""

import importlib.metadata
import os
import runpy
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
script = sys.argv[1]
pinned = next(line for line in open(script) if line.startswith("PACKAGE, PINNED")).split('"')[3]
importlib.metadata.version = lambda name: pinned
runpy.run_path(script, run_name="__main__")
