"""Runs a whole cluster on this machine, for `gateway up`, `gateway demo` and embedding.

`processes/` keeps child processes alive, `redis/` runs the embedded Valkey. Imports `common`,
`gateway.access`, `gateway.client` and `gateway.http`. Open `cluster` first.
"""
