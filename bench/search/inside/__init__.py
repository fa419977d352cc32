"""What runs in each engine's processes: it builds the index, answers queries and makes the load.

Modules of engines with a separate environment import nothing of the project except this package,
`bench.search.queries` and `bench.harness.pipe`, which need only the standard library. Open
`serving` first, then an engine's module.
"""
