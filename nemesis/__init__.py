"""Faults on purpose: a real cluster under load, a seeded schedule of faults, independent checkers.

Nothing that is served imports this. Open `run` first: it is one attack from start to end. The
rooms, from the bottom up:

- `layout`: which processes the attacked cluster has; `history`: what is recorded, as lines of JSON.
- `abilities`: what this machine can do; `schedule`: which faults come when, a pure function of the
  seed.
- `cluster/`: the processes and what they stand on (network, disks, memory, clocks); `load/`: the
  clients, a process of its own that records each call.
- `faults/`: what is done to the cluster; a new kind of fault is a function and a card there.
- `checkers/`: pure functions from a history to violations. They know the documented promises, and
  none of the product's code but the function that assigns a document to its shard.
- `report`: a run in words, and the page docs/nemesis.md.
"""
