"""Search as it is used: `gateway up` as it comes, beside what people would write themselves.

Imports `bench.search` and `bench.harness`. Open `driver` first, then `page`, which writes
docs/search-used.md.
"""
