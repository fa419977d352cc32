"""Which traces are kept: a share of them, and those that turn out to be worth it.

It is decided twice. When a request begins, a share of the traces is sampled; workers learn that
with the request, and make spans of users' functions only for these. When it has ended, those that
are worth it are kept, too. Together, they are bounded: under an overload every search is partial.
"""

from collections.abc import Callable

from hedgerow.common.runtime.token_bucket import TokenBucket
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext, new_packed


class TailSampling:
    """Decides for the traces of one gateway; `now` is the event loop's time, in s.

    Attributes:
        num_kept: traces that were kept.
        num_dropped: traces that were not although they were sampled, or worth it.
    """

    def __init__(self, settings: TracingSettings, rng: Callable[[], float]) -> None:
        """Keep what `settings` say; `rng` is uniform over [0, 1)."""
        self.num_kept = self.num_dropped = 0
        self._rate = settings.sample_rate
        self._trusts_callers = settings.trust_callers
        self._rng = rng
        self._allowance = TokenBucket(settings.max_traces_per_second)

    def begin(self, traceparent: str, now: float) -> tuple[bytes, int]:
        """Begin the trace of a request, or the gateway's part of its caller's.

        Args:
            traceparent: as the caller has sent it; "" if it has not.
            now: when.

        Returns:
            The request's span, packed (`TraceContext.pack`), and the id of the caller's, which
            that is a part of; 0 for none.
        """
        caller = TraceContext.parse(traceparent) if traceparent else None
        if caller is not None and self._trusts_callers:
            is_sampled = caller.is_sampled and self._allow(now)
        else:  # not by the trace's id, which the caller may choose
            is_sampled = self.samples(now)
        drawn = new_packed(is_sampled=is_sampled)
        if caller is None:
            return drawn, 0
        return caller.pack()[:16] + drawn[16:], caller.span_id

    def samples(self, now: float) -> bool:
        """Whether a trace that begins is sampled, if no caller decides; to be asked once.

        A trace that is sampled is certain to be kept: users' functions make spans for it.
        """
        return self._rng() < self._rate and self._allow(now)

    def keeps(self, now: float, *, is_sampled: bool) -> bool:
        """Whether a trace is kept that is worth it; to be asked once."""
        return is_sampled or self._allow(now)

    def as_dict(self) -> dict[str, int]:
        """Figures for the status."""
        return {"kept": self.num_kept, "dropped": self.num_dropped}

    def _allow(self, now: float) -> bool:
        is_allowed = self._allowance.take(now) == 0
        if is_allowed:
            self.num_kept += 1
        else:
            self.num_dropped += 1
        return is_allowed
