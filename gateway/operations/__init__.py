"""The requests of operators: status, snapshots, optimising, quarantine.

Imports `gateway.members`, `gateway.writes`, `gateway.policies` and `common`. Open `status` first.
"""
