"""What the benchmarks and the lab share: clusters, load, processes, figures, tables and plots.

It imports none of the benchmarks. `load`, `pipe` and `options` need no more than the standard
library, since they also run in the virtual environments of other packages. Open `cluster` first.
"""
