"""The clients: a process of its own, which searches and writes, and records each call.

Imports `history` and `layout`. Open `clients` first; `python -m nemesis.load` runs them, told by
commands on standard input.
"""
