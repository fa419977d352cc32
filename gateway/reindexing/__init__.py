"""The reindex of a collection into another one, while both serve (docs/reindexing.md).

`policy` decides what is next, from what the workers report; `driver` does it, in one gateway at a
time; `pace` says how much is copied, and when; `admin` begins and ends a reindex. Workers copy and
follow by operations in their logs (`shard_worker.indexing.mirroring`). Imports `members`, `writes`
and below. Open `policy.py` first.
"""
