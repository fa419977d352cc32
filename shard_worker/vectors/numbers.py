"""Imports numpy, which must not start threads of its own: the scorers share the cores out."""

import os

# Read when numpy loads its library of linear algebra. A function of a user that has imported numpy
# before has decided otherwise.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

__all__ = ["np"]
