"""The query language: from a text to a tree that has been checked against a collection's fields.

Imports `common.collection`, `common.settings` and `common.errors`. Open `syntax` first; `tree` is
the result, `cost` estimates what it costs a scorer.
"""
