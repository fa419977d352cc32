"""Who watches, and what is on its way to them: server-sent events, encoded once for all.

The format is https://html.spec.whatwg.org/multipage/server-sent-events.html. A viewer that does not
keep up is dropped: what a viewer may have waiting is bounded in number, and so is what the
connection may hold (`gateway.send_timeout_s`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from hedgerow.common.errors import OverloadedError
from hedgerow.gateway.views.json_bytes import encode, encode_shape

# A viewer that has taken nothing for this time is dropped, and so is one for which more messages
# wait: two come each second, and one with each event.
MAX_BEHIND_S: Final = 5.0
MAX_WAITING: Final = 1_000
# Rights are checked when a stream begins, so each ends after this time, and is asked for again.
MAX_AGE_S: Final = 900.0


def message(name: str, data: Any) -> bytes:
    """Encode an event of the stream; its data is one line of JSON."""
    body = encode_shape(data) if isinstance(data, msgspec.Struct) else encode(data)
    return b"event: %b\ndata: %b\n\n" % (name.encode(), body)


class Viewer:
    """One client of the stream.

    Attributes:
        key: the name of its key; None if it has none.
        party: whose it is: a key's, or an address's.
        began_at: when, on the event loop's clock.
        is_open: whether it gets further messages.
    """

    def __init__(self, key: str | None, party: str, first: bytes, now: float) -> None:
        """Begin with `first`, at `now` on the event loop's clock."""
        self.key = key
        self.party = party
        self.began_at = now
        self.is_open = True
        self._ends_at = now + MAX_AGE_S
        self._waiting = deque((first,))
        self._waits_since = now
        self._has_news = asyncio.Event()

    def put(self, data: bytes, now: float) -> bool:
        """Add a message; returns whether the viewer keeps up, and may stay."""
        if not self._waiting:
            self._waits_since = now
        elif now - self._waits_since > MAX_BEHIND_S or len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self.close()
            return False
        self._waiting.append(data)
        self._has_news.set()
        if now >= self._ends_at:
            self.close()
        return self.is_open

    def close(self) -> None:
        """End the stream, after what is waiting."""
        self.is_open = False
        self._has_news.set()

    async def take(self) -> bytes:
        """Wait for what is next, which may be several messages; empty when the stream has ended."""
        while self.is_open and not self._waiting:
            self._has_news.clear()
            await self._has_news.wait()
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data


class Viewers:
    """The viewers of one gateway, at most a fixed number."""

    def __init__(self, max_viewers: int, on_first: Callable[[], None]) -> None:
        """Admit `max_viewers`; `on_first` is called when the first one comes."""
        self._max_viewers = max_viewers
        self._on_first = on_first
        self._viewers: set[Viewer] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._viewers)

    def open(self, key: str | None, party: str, first: bytes) -> Viewer:
        """Admit a viewer, whose stream begins with `first`.

        If there are as many as may be, the oldest of the party with most of them makes room,
        provided that this party still has as many as the new one then.

        Raises:
            OverloadedError: there are as many viewers as are allowed, and none makes room.
        """
        if len(self._viewers) >= self._max_viewers and not self._make_room(party):
            raise OverloadedError(
                f"{len(self._viewers)} viewers follow the events, and gateway.max_viewers "
                f"({self._max_viewers}) allows no more",
                "viewers",
                5.0,
            )
        viewer = Viewer(key, party, first, asyncio.get_running_loop().time())
        if self._is_closed:
            viewer.close()
            return viewer
        self._viewers.add(viewer)
        if len(self._viewers) == 1:
            self._on_first()
        return viewer

    def _make_room(self, party: str) -> bool:
        counts = Counter(viewer.party for viewer in self._viewers)
        if not counts:
            return False
        largest, num = counts.most_common(1)[0]
        if num < counts[party] + 2:
            return False
        theirs = (viewer for viewer in self._viewers if viewer.party == largest)
        self.leave(min(theirs, key=lambda viewer: viewer.began_at))
        return True

    def leave(self, viewer: Viewer) -> None:
        """A viewer has gone."""
        viewer.close()
        self._viewers.discard(viewer)

    def send(self, data: bytes) -> None:
        """Send a message to all; those who do not keep up are dropped."""
        now = asyncio.get_running_loop().time()
        self._viewers = {viewer for viewer in self._viewers if viewer.put(data, now)}

    def keep_keys(self, names: Collection[str]) -> None:
        """End the streams of keys that are not among `names`: they were revoked."""
        for viewer in list(self._viewers):
            if viewer.key is not None and viewer.key not in names:
                self.leave(viewer)

    def close(self) -> None:
        """End all streams, and any that begins later."""
        self._is_closed = True
        for viewer in list(self._viewers):
            self.leave(viewer)
