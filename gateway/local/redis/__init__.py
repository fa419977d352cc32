"""The embedded Valkey: the cluster's own server, within limits of memory and disk.

Imports `gateway.local.processes` and `common`. Open `server` first.
"""
