"""Checkers: pure functions from a history to violations of what the product promises.

Imports `history` and `layout`. Open `all_checks` first: it lists them, each with its promise.
"""
