"""The query language: from a text to a tree that has been checked against a collection's fields.

Imports `common.collection`, `common.settings` and `common.errors`. Open `syntax` first; `tree` is
what comes out, `cost` what it will cost a scorer.
"""
