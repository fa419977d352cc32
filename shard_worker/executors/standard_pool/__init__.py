"""A process pool over the standard library's `ProcessPoolExecutor`: the plain alternative.

Chosen by `worker.process_pool = "executor"`. It takes the same tasks as `process_pool` and uses its
handler loop, budgets in shared memory and batching. Imports `process_pool`, the other modules of
`shard_worker.executors`, and `common.errors`. Open `pool` first.
"""
