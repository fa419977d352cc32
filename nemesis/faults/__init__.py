"""What is done to the cluster: one function for each kind of fault.

Imports `cluster` and `schedule`. Open `processes` first.

To add a kind of fault (a failover, a move of a shard, a split), write a function like those here:
an async context manager that begins the fault, yields a sentence about what it did, and ends it.
List it with its `Card` in a mapping that `catalogue.FAULTS` includes. Schedule, history, checkers
and report follow from that. New cards change what the existing seeds mean.
"""
