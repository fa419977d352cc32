"""More callers than `gateway up` can serve: goodput, partial answers, and the cost of refusals.

Imports `bench.harness`, and `bench.search` for its documents and queries. Open `__main__` first.
"""
