"""A handler that says how nice the thread was that imported it, and how nice its process is."""

import os
import threading
from collections.abc import Callable

from hedgerow.shard_worker.executors.process_pool.budget import Budget

AT_IMPORT = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def make(_config: object) -> Callable[[bytes, Budget], bytes]:
    """The factory of the handler."""
    return lambda _payload, _budget: f"{AT_IMPORT} {os.getpriority(os.PRIO_PROCESS, 0)}".encode()
