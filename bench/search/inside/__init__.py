"""What runs in each engine's own processes: it builds, answers one query, and is loaded in place.

Modules of engines that have an environment of their own import nothing of the project but this
package, `bench.search.queries` and `bench.harness.pipe`, which need the standard library alone.
"""
