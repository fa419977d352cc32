"""What every benchmark and the lab stand on: clusters, load, processes, figures, tables, plots.

It imports none of the benchmarks. `load`, `pipe` and `options` need no more than the standard
library, since they also run in environments of other packages. Open `cluster` first.
"""
