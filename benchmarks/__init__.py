"""Benchmarks of speed and quality, each run as `python -m benchmarks.X --json=FILE`."""

import os

# JAX would reserve most of a GPU's memory for itself, and PyTorch runs on the same one.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
