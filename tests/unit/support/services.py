"""What the tests of a worker's services share: a clock set by hand, and a replier that notes."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.wire.messages import (
    Failure,
    Kind,
    Reply,
    Request,
    pack_request,
    unpack_failure,
)
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.turn import Turn

REPLY_TO = "hedgerow:reply:g1"
SERVER_AHEAD_S = 1000.0  # of the worker's clock


@dataclass
class Clock:
    """Stands for the module `time`; the test moves it."""

    now: float = 50.0

    def monotonic(self) -> float:
        """The instant that was set, in s."""
        return self.now

    @property
    def server_us(self) -> int:
        """The same instant on the server's clock."""
        return round((self.now + SERVER_AHEAD_S) * 1e6)

    def server_ms(self, after_s: float) -> int:
        """An instant on the server's clock, this long after now."""
        return round((self.now + SERVER_AHEAD_S + after_s) * 1e3)

    def request(self, kind: Kind, payload: bytes, /, **changes: Any) -> bytes:
        """A packed request, sent 5 ms ago and due in 100 ms, but for `changes`."""
        sent_us = self.server_us - 5000
        request = Request(kind, 7, self.server_ms(0.1), sent_us, REPLY_TO, payload)
        return pack_request(replace(request, **changes))

    def drive(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> ServerClock:
        """Replace the time of some modules; returns the server's clock as their worker knows it."""
        for module in modules:
            monkeypatch.setattr(module, "time", self)
        known = ServerClock()
        known.record(self.now, self.now, self.server_us)
        return known


class Sent(NamedTuple):
    """A reply, and the channel on which it went."""

    reply_to: str
    reply: Reply


@dataclass
class Replies(Replier, Turn):
    """Notes replies instead of sending them."""

    sent: list[Sent] = field(default_factory=list)

    def reply(self, reply_to: str, reply: Reply) -> None:
        """Note one."""
        self.add(reply_to, reply)

    def add(self, reply_to: str, reply: Reply) -> None:
        """Note one that the caller would have flushed."""
        self.sent.append(Sent(reply_to, reply))

    @property
    def only(self) -> Reply:
        """The only reply, which went to the gateway that asked."""
        (sent,) = self.sent
        assert sent.reply_to == REPLY_TO
        return sent.reply

    @property
    def failure(self) -> Failure:
        """Why the only reply failed."""
        return unpack_failure(self.only.body)
