#!/usr/bin/env python3
"""This crate beside PyTorch and beside other registration programs, in one run on one machine.

    python3 -m venv V && V/bin/pip install torch numpy SimpleITK antspyx picsl_greedy
    V/bin/python benches/beside [--threads N] [--only operators|programs]
        [--fixed F --moving M --fixed-labels FL --moving-labels ML]

`operators`: convolutions, a whole network, warps, smoothing and local correlation beside PyTorch (see operators.py).
`programs`: whole registrations of a pair beside other programs (see programs.py); without a pair, of the phantom of `stillpoint
demo`. What is not installed is left out, and said so.
"""

import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=["operators", "programs"])
    pair = ["fixed", "moving", "fixed-labels", "moving-labels"]
    for name in pair:
        parser.add_argument(f"--{name}", type=os.path.abspath)
    given = parser.parse_args()
    files = [getattr(given, name.replace("-", "_")) for name in pair]
    if any(files) and not all(files):
        parser.error("a pair is four files: --fixed --moving --fixed-labels --moving-labels")
    parts = [given.only] if given.only else ["programs", "operators"]
    for part in parts:
        command = [sys.executable, os.path.join(HERE, f"{part}.py"), str(given.threads)]
        if part == "programs":
            command += [file for file in files if file]
        if subprocess.run(command).returncode != 0:
            sys.exit(f"{part} failed")


main()
