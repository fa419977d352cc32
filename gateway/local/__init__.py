"""A whole cluster on this machine: `gateway up`, `gateway demo` and the embedded one.

`processes/` keeps child processes alive, `redis/` runs the embedded Valkey. Open `cluster` first.
"""
