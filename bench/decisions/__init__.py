"""Comparisons on which docs/decisions rests, with the alternatives that were decided against.

Each is a module to run. They are not part of `make bench`, but run when a decision is reviewed.
"""
