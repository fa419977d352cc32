"""How the blocking client sends a call."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.network.blocking import BlockingNetwork
from hedgerow.gateway.client.reply import Reply

if TYPE_CHECKING:
    from hedgerow.gateway.client.httpx_transport import HttpxTransport


T = TypeVar("T")


class Exchange:
    """Sends a client's calls over its connections."""

    _way: "BlockingNetwork | HttpxTransport"

    def exchange(self, call: Call[Any], content: Iterable[bytes] | None = None) -> Reply:
        """Send a call, and return its raw reply, from which `call.read` makes the answer.

        Args:
            call: a call from gateway.client.calls.
            content: the body, if it is produced while it is sent.

        Raises:
            UnavailableError: no gateway answers in time.
        """
        return self._way.send(call, content)

    def _ask(self, call: Call[T]) -> T:
        return call.read(self._way.send(call))
