"""The embedded Valkey: a server of the cluster's own, within limits of memory and disk.

Imports `gateway.local.processes` and `common`. Open `server` first.
"""
