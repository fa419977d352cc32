"""Measurements of Hedgerow against a raw floor: `make bench`, or `python -m bench --help`.

`harness/` is what all of them share. May import everything but the lab; nothing that serves imports
it. Open `__main__` first, then `costs/`, whose modules are the parts of docs/benchmarks.md.
"""
