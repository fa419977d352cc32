"""Documents from files, folders, standard input and this Python's docstrings, for `gateway index`.

Imports `gateway.client` and `common`. Open `sources` first.
"""
