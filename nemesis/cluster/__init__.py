"""The cluster that is attacked, and what it stands on: network, disks, memory, clocks.

Imports `abilities`, `history` and `layout`. Open `cluster` first. `links` says what a network can
do; `namespaces` is one of real interfaces, `proxied` one of TCP proxies for machines without them.
"""
