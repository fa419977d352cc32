"""CPU work in the standard library's `ProcessPoolExecutor`, for those who want the plain thing.

Chosen by `worker.process_pool = "executor"`. It takes the same tasks as `process_pool`, from which
it has the handler's loop, the budget in shared memory and the policies of batching; it imports that
package, the other modules of `shard_worker.executors` and `common.errors`. Open `pool` first.
"""
