"""A gateway with one collection, films, that takes documents, to be loaded into by a client."""

import json
from typing import Any

import httpx


class Films:
    """The gateway's side of a collection: it rejects lines that lack an id or say `bad`."""

    def __init__(self, *, max_reported: int = 1000) -> None:
        self.definition: dict[str, Any] | None = None
        self.documents: list[dict[str, Any]] = []
        self.waits: list[str] = []
        self.failures: list[httpx.Response] = []
        self._max_reported = max_reported

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as docs/http.md says."""
        if request.url.path == "/v1/collections/films":
            if request.method == "PUT":
                self.definition = json.loads(request.content)
            if self.definition is None:
                return httpx.Response(404, json={"detail": "there is no collection 'films'"})
            return httpx.Response(200, json=self._description(self.definition.get("fields")))
        assert request.url.path == "/v1/collections/films/documents"
        body = request.read()
        if self.failures:
            return self.failures.pop(0)
        self.waits.append(request.url.params["wait"])
        accepted, rejected = 0, []
        for number, line in enumerate(body.splitlines(), 1):
            document = json.loads(line) if line.endswith(b"}") else {}
            if "id" in document and "bad" not in document:
                self.documents.append(document)
                accepted += 1
            else:
                rejected.append({"line": number, "reason": "is of no use"})
        return httpx.Response(
            200,
            json={
                "accepted": accepted,
                "rejected": rejected[: self._max_reported],
                "rejected_total": len(rejected),
                "applied": True,
            },
        )

    def _description(self, fields: Any) -> dict[str, Any]:
        return {
            "name": "films",
            "fields": fields,
            "rank_profile": "bm25",
            "rank_profiles": ["bm25"],
            "language": "english",
            "documents": len(self.documents),
            "shards": [],
        }
