"""Calls as the history records them: one search, one write, one read of a document."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from nemesis.history import Hit, Purpose, Read, Search, Wait, Write
from nemesis.layout import (
    GROUP_SIZE,
    NUM_WRITERS,
    REGISTERS,
    STEADY,
    member_of,
    register_word,
)
from nemesis.load.exchange import Answer, Connection
from nemesis.load.waits import LoopLag, run_queue_ms

# A client that waits for longer than the deadline shows how late an answer is; it has to end, too.
_PATIENCE_S = 3.0
_WRITE_TIMEOUT_S = 20.0
_REFUSED = frozenset({400, 404, 412, 413, 429})
NO_VERSION = "none"  # how a condition names the version of a document that does not exist
_NEVER = "AAAAAAAAAAAAAAAA"  # a version that no document has

Condition = Literal["", "right", "wrong"]


class Caller:
    """Calls one gateway over one connection.

    Attributes:
        gateway: its name.
        versions: document → what it is named by in conditions, where the only writer knows that.
    """

    def __init__(
        self, gateway: str, address: tuple[str, int], lag: LoopLag, pids: Mapping[str, int]
    ) -> None:
        """Call the gateway at `address`.

        Args:
            gateway: its name.
            address: its host and port.
            lag: of this process's loop.
            pids: the gateways' processes, kept up to date by the caller of this.
        """
        self.gateway = gateway
        self.versions: dict[str, str] = {}
        self._connection = Connection(*address)
        self._lag = lag
        self._pids = pids
        self._now = asyncio.get_running_loop().time

    async def search_group(self, group: int, deadline_ms: float) -> Search:
        """Search the steady documents for a group."""
        subject = f"group{group}"
        return await self._search(STEADY, subject, subject, 2 * GROUP_SIZE, deadline_ms, "load")

    async def search_register(
        self, register: str, deadline_ms: float, purpose: Purpose = "load"
    ) -> Search:
        """Search for the one document that contains the word of `register`."""
        word = register_word(register)
        return await self._search(REGISTERS, register, word, 5, deadline_ms, purpose)

    async def _search(
        self,
        collection: str,
        subject: str,
        query: str,
        k: int,
        deadline_ms: float,
        purpose: Purpose,
    ) -> Search:
        body = {
            "query": query,
            "k": k,
            "deadline_ms": deadline_ms,
            "fields": ["version"],
            "explain": True,
        }
        pid = self._pids.get(self.gateway, 0)
        waited_ms = run_queue_ms(pid)
        at = self._now()
        answer = await self._connection.ask(
            "POST",
            f"/v1/collections/{collection}/search",
            json.dumps(body).encode(),
            timeout_s=deadline_ms / 1e3 + _PATIENCE_S,
        )
        client_waited_ms = self._lag.within(at, self._now())
        return Search(
            at=at,
            until=answer.until,
            gateway=self.gateway,
            pid=pid,
            collection=collection,
            subject=subject,
            deadline_ms=deadline_ms,
            purpose=purpose,
            status=answer.status,
            error=answer.error or _problem(answer),
            client_waited_ms=round(client_waited_ms, 2),
            gateway_waited_ms=round(max(0.0, run_queue_ms(pid) - waited_ms), 2),
            **_members(answer.body),
        )

    async def put(
        self,
        register: str,
        version: int,
        wait: Wait,
        *,
        if_version: str = "",
        condition: Condition = "",
    ) -> Write:
        """Write a version of a document; `versions` then has what it is named by in conditions.

        Args:
            register: the document.
            version: its version.
            wait: what the acknowledgement means.
            if_version: the version that it must have, if the condition is `right`.
            condition: on which it is written.
        """
        body = json.dumps(document_of(register, version)).encode()
        path = f"/v1/collections/{REGISTERS}/documents/{register}?wait={wait}"
        if condition:
            path += f"&if_version={if_version if condition == 'right' else _NEVER}"
        at = self._now()
        answer = await self._connection.ask("PUT", path, body, timeout_s=_WRITE_TIMEOUT_S)
        write = self._write(at, answer, register, version, wait)
        self._learn(write, answer)
        return msgspec.structs.replace(write, condition=condition)

    async def patch(self, register: str, version: int, wait: Wait) -> Write:
        """Change the version of a document, and leave the rest of it."""
        path = f"/v1/collections/{REGISTERS}/documents/{register}?wait={wait}"
        body = json.dumps({"version": version}).encode()
        at = self._now()
        answer = await self._connection.ask("PATCH", path, body, timeout_s=_WRITE_TIMEOUT_S)
        write = self._write(at, answer, register, version, wait)
        self._learn(write, answer)
        return write

    async def patch_member(self, shared: str, writer: int, version: int, wait: Wait) -> Write:
        """Change a writer's member of a document that others change at the same time."""
        path = f"/v1/collections/{REGISTERS}/documents/{shared}?wait={wait}"
        body = json.dumps({f"w{writer}": version}).encode()
        at = self._now()
        answer = await self._connection.ask("PATCH", path, body, timeout_s=_WRITE_TIMEOUT_S)
        return self._write(at, answer, member_of(shared, writer), version, wait)

    async def read_members(self, shared: str) -> list[Read]:
        """Read a document that all writers change: one reading for the member of each."""
        path = f"/v1/collections/{REGISTERS}/documents/{shared}?deadline_ms=5000"
        at = self._now()
        answer = await self._connection.ask("GET", path, timeout_s=10.0)
        found = answer.body if answer.status == 200 else {}
        return [
            Read(
                at=at,
                until=answer.until,
                gateway=self.gateway,
                id=member_of(shared, writer),
                status=answer.status,
                version=found.get(f"w{writer}"),
            )
            for writer in range(NUM_WRITERS)
        ]

    def _learn(self, write: Write, answer: Answer) -> None:
        """Know what a document is named by in conditions, if it is known what it is."""
        if write.end == "acknowledged" and answer.body.get("version"):
            self.versions[write.id] = answer.body["version"]
        elif write.end != "refused":
            self.versions.pop(write.id, None)

    async def delete(self, register: str, version: int, wait: Wait) -> Write:
        """Remove a document; `version` numbers the write."""
        path = f"/v1/collections/{REGISTERS}/documents/{register}?wait={wait}"
        at = self._now()
        answer = await self._connection.ask("DELETE", path, timeout_s=_WRITE_TIMEOUT_S)
        write = self._write(at, answer, register, version, wait, is_delete=True)
        self.versions.pop(register, None)
        if write.end == "acknowledged":
            self.versions[register] = NO_VERSION
        return write

    async def load(self, versions: Mapping[str, int], wait: Wait) -> Iterator[Write]:
        """Write several documents with one request."""
        for register in versions:
            self.versions.pop(register, None)
        lines = [json.dumps(document_of(*one)).encode() for one in versions.items()]
        at = self._now()
        answer = await self.load_lines(REGISTERS, lines, wait)
        # Which documents are safe is only known if all are: a part of them counts as unknown.
        is_whole = isinstance(answer.body, dict) and answer.body.get("accepted") == len(lines)
        whole = answer if is_whole else answer._replace(body=None)
        return (
            self._write(at, whole, register, version, wait, of_load=True)
            for register, version in versions.items()
        )

    async def load_lines(self, collection: str, lines: Sequence[bytes], wait: Wait) -> Answer:
        """Send documents as NDJSON; with none, wait for those that were logged before."""
        path = f"/v1/collections/{collection}/documents?wait={wait}"
        body = b"".join(line + b"\n" for line in lines)
        return await self._connection.ask("POST", path, body, timeout_s=_WRITE_TIMEOUT_S)

    async def read(self, register: str) -> Read:
        """Read a document by its id."""
        path = f"/v1/collections/{REGISTERS}/documents/{register}?deadline_ms=5000"
        at = self._now()
        answer = await self._connection.ask("GET", path, timeout_s=10.0)
        version = answer.body.get("version") if answer.status == 200 else None
        return Read(
            at=at,
            until=answer.until,
            gateway=self.gateway,
            id=register,
            status=answer.status,
            version=version,
        )

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Any other request."""
        return await self._connection.ask(method, path, body, timeout_s=10.0)

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    def _write(
        self,
        at: float,
        answer: Answer,
        register: str,
        version: int,
        wait: Wait,
        *,
        is_delete: bool = False,
        of_load: bool = False,
    ) -> Write:
        return Write(
            at=at,
            until=answer.until,
            gateway=self.gateway,
            id=register,
            version=version,
            wait=wait,
            end=_end(answer, is_delete=is_delete, of_load=of_load),
            is_delete=is_delete,
            status=answer.status,
            error=answer.error or _problem(answer),
        )


def document_of(register: str, version: int) -> dict[str, Any]:
    """A version of a document."""
    return {"id": register, "text": f"{register_word(register)} written", "version": version}


def _end(answer: Answer, *, is_delete: bool, of_load: bool) -> Any:
    """What an answer says of a write."""
    if answer.status in _REFUSED:
        return "refused"
    if is_delete:
        return "acknowledged" if answer.status == 204 else "unknown"
    if not isinstance(answer.body, dict) or answer.body.get("accepted", 0) < 1:
        return "unknown"
    if answer.status == 200:
        return "acknowledged" if of_load or answer.body["accepted"] == 1 else "unknown"
    return "logged"  # "the documents that `accepted` counts are safe"


def _problem(answer: Answer) -> str:
    if answer.status < 400 or not isinstance(answer.body, dict):
        return ""
    return str(answer.body.get("detail", ""))[:300]


def _members(body: Any) -> dict[str, Any]:
    """What an answer or a problem says of a search that was started."""
    if not isinstance(body, dict) or "coverage" not in body:
        return {}
    shards, coverage = body["shards"], body["coverage"]
    return {
        "took_ms": body.get("took_ms"),
        "hits": tuple(Hit(hit["id"], (hit["fields"] or {}).get("version")) for hit in body["hits"]),
        "outcomes": tuple((one["shard"], one["outcome"]) for one in shards["detail"]),
        "counts": {name: count for name, count in shards.items() if name != "detail" and count},
        "covered": coverage["documents"],
        "known": coverage["documents_total"],
        "fraction": coverage["fraction"],
        "is_full": coverage["is_full"],
    }
