"""The same documents and queries in Hedgerow and in other search engines: docs/search-bench.md.

`inside/` runs in the engines' processes; `used/` is docs/search-used.md. Imports `bench.harness`.
Open `__main__` first, then `catalogue`, which lists the engines.
"""
