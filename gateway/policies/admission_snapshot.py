"""What the status shows of admission control."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AdmissionSnapshot:
    """What `status` shows of admission control.

    Attributes:
        limit: the most queries that may be in flight now.
        in_flight: priority → queries in flight.
        refused: cause → priority → queries refused since the start.
        forecast_ms: for each shard, how long a request sent now would wait in its queue, in ms.
    """

    is_enabled: bool
    limit: int
    in_flight: dict[str, int]
    refused: dict[str, dict[str, int]]
    forecast_ms: list[float]

    def to_json(self) -> dict[str, Any]:
        """The form in the status; docs/http-status.md describes it."""
        return {
            "enabled": self.is_enabled,
            "limit": self.limit,
            "in_flight": self.in_flight,
            "refused": self.refused,
            "forecast_ms": self.forecast_ms,
        }
