"""What people would pick instead of Hedgerow, measured in the same run: docs/peers.md.

`inside/` runs in the virtual environments of the others. Imports `bench.harness`. Open `__main__`
first, then `catalogue`, which lists them.
"""
