"""What docs/decisions rests on: comparisons with what was decided against, each a module to run.

They are no part of `make bench`, since they are run when a decision is looked at again.
"""
