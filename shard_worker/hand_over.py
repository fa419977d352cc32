"""Second copies go to another worker than the one that has the first."""

from msgspec.structs import replace

from common.keys import Keys
from common.link import Link, unanswered
from common.telemetry import Counters
from common.wire import Hedge, Kind, Request, pack_request


class HandOver:
    """Hands second copies that were pulled by the wrong worker to one that may have them."""

    def __init__(
        self, link: Link, keys: Keys, worker: str, expiry_s: float, counters: Counters
    ) -> None:
        """Hand over, by `link`, what `worker` must not run; queues live for `expiry_s`, in s."""
        self._link = link
        self._keys = keys
        self._worker = worker
        self._expiry_s = expiry_s
        self._counters = counters

    def __call__(self, request: Request) -> None:
        """Give a second copy to the next worker on its list; drop it when there is none."""
        hedge = request.hedge
        others = [] if hedge is None else [one for one in hedge.workers if one != self._worker]
        if hedge is None or not others:
            self._counters.add("hedges_unplaced")
            return
        self._counters.add("hedges_handed_over")
        is_search = request.kind == Kind.SEARCH
        keys = self._keys
        key_of = keys.worker_search_queue if is_search else keys.worker_fetch_queue
        queue = key_of(others[0])
        # Nobody to whom it was offered is asked again, so that it cannot go in circles.
        message = pack_request(replace(request, hedge=Hedge(hedge.shard, others[1:])))
        self._link.send_now(
            [
                unanswered("RPUSH", queue, message),
                unanswered("EXPIRE", queue, self._expiry_s),
            ],
            [],
        )
