"""Scripted shards that answer each leg of a hybrid search by a script of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from hedgerow.common.wire.messages import (
    Kind,
    Reply,
    SearchPayload,
    Status,
    pack_body,
    unpack_request,
    unpack_search_body,
    unpack_search_payload,
)
from hedgerow.common.wire.search_options import SearchExtras
from hedgerow.gateway.transport.protocol import ReplySink
from tests.unit.support.scripted import Script, ScriptedTransport


@dataclass
class HybridShards(ScriptedTransport):
    """Shards with scripts by leg.

    Attributes:
        legs: leg → shard → script; of documents, the scripts of the text leg.
        payloads: leg → what it asked for, of each scatter.
    """

    scripts: dict[int, Script] = field(default_factory=dict)
    legs: dict[str, dict[int, Script]] = field(default_factory=dict)
    payloads: dict[str, list[SearchPayload]] = field(default_factory=dict)
    _with_options: set[int] = field(default_factory=set)

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,
    ) -> Mapping[int, int]:
        """Follow the scripts of the leg that asks."""
        self.scripts = self.legs["text"]
        if kind is Kind.SEARCH:
            payload = unpack_search_payload(unpack_request(message).payload)
            options = payload.options
            name = "text"
            if options is not None:
                self._with_options.add(query_id)
                name = "vector" if options.vector is not None else "second_phase"
            self.payloads.setdefault(name, []).append(payload)
            self.scripts = self.legs[name]
        return super().scatter(kind, query_id, shards, message, sink, goes_ahead)

    def _arrive(self, query_id: int, reply: Reply) -> None:
        if query_id in self._with_options and reply.status == Status.OK:
            body: Any = replace(unpack_search_body(reply.body), extras=SearchExtras())
            reply = replace(reply, body=pack_body(body))
        super()._arrive(query_id, reply)
