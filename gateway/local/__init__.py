"""Runs a whole cluster on this machine, for `gateway up`, `gateway demo` and embedding.

`processes/` keeps child processes alive, `redis/` runs the embedded Valkey. Open `cluster` first.
"""
