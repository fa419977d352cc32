"""A worker process that joins: a worker for each layout of the cluster's shards that there is.

That is one, and two while the shards are split. Imports everything else of the worker but its
entry points. Open `layout_host.py`.
"""
