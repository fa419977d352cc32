"""A client of the HTTP gateway for the command line: requests in, typed results and errors out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import httpx

from common.errors import (
    BadRequestError,
    ConflictError,
    HedgerowError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from common.outcome import Outcome
from gateway.result import (
    Coverage,
    FetchReport,
    Hit,
    SearchResult,
    ShardDetail,
    TotalHits,
)

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_MARGIN_S: Final = 10.0  # beyond a query's deadline: a gateway that is late is still heard


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a search.

    Attributes:
        status: the HTTP status; 200, or 503 or 504 when coverage is below the minimum.
        text: the body as it came.
        result: the body, typed.
        detail: what the problem says; "" with status 200.
    """

    status: int
    text: str
    result: SearchResult
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What became of one bulk load.

    Attributes:
        accepted: documents logged.
        rejected: (line of the body from 1, reason) of the first lines that were rejected.
        rejected_total: lines that were rejected.
    """

    accepted: int
    rejected: list[tuple[int, str]]
    rejected_total: int


class GatewayClient:
    """Talks to one gateway; usable from several threads.

    Every method raises an error of common.errors that says what the gateway's problem said, and
    UnavailableError when there is no gateway at the URL.
    """

    def __init__(
        self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Prepare to talk to the gateway at `url`; nothing is sent yet."""
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # Proxies and .netrc of the environment are for the internet, and may leak the token.
        self._http = httpx.Client(
            base_url=self.url, headers=headers, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        """Return the client, which the end of the block closes."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def search(self, collection: str, body: Mapping[str, Any], deadline_s: float) -> Answer:
        """Search, and take an answer below the minimum coverage for an answer too.

        Args:
            collection: name of the collection.
            body: the request's body, as docs/http.md has it.
            deadline_s: the query's deadline, to know how long to wait for the answer, in s.
        """
        response = self._send(
            "POST",
            f"{_collection(collection)}/search",
            json=body,
            timeout_s=deadline_s + ANSWER_MARGIN_S,
        )
        found = _object(response)
        if response.is_success or "coverage" in found:
            detail = "" if response.is_success else str(found.get("detail", ""))
            try:
                result = search_result(found)
            except (KeyError, TypeError, ValueError) as error:
                raise HedgerowError(f"what answers at {self.url} is not a gateway") from error
            return Answer(response.status_code, response.text, result, detail)
        raise error_of(response)

    def status(self) -> dict[str, Any]:
        """Return the state of the cluster."""
        return self._json("GET", "/v1/status")

    def create_snapshots(self) -> dict[str, Any]:
        """Ask for a snapshot of every shard."""
        return self._json("POST", "/v1/snapshots")

    def quarantine(self) -> list[dict[str, Any]]:
        """Return the queries that have killed scorers."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/quarantine")["quarantine"]
        return found

    def lift_quarantine(self, fingerprint: str) -> None:
        """Let a query run again."""
        self._json("DELETE", f"/v1/quarantine/{quote(fingerprint, safe='')}")

    def collection(self, name: str) -> dict[str, Any]:
        """Describe one collection."""
        return self._json("GET", _collection(name))

    def coverage_curve(self, name: str) -> dict[str, Any]:
        """Return what coverage a collection's queries reach by which deadline."""
        return self._json("GET", f"{_collection(name)}/coverage-curve")

    def put_collection(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a collection where there is none."""
        return self._json("PUT", _collection(name), json=body)

    def load(
        self,
        collection: str,
        lines: Iterable[bytes],
        wait: Literal["logged", "applied"],
        timeout_s: float,
    ) -> Load:
        """Load documents.

        Args:
            collection: name of the collection.
            lines: one JSON object each, without the line's end.
            wait: whether to return when the documents are safe, or when they can be found.
            timeout_s: longest wait for the answer, in s.
        """
        found = self._json(
            "POST",
            f"{_collection(collection)}/documents",
            content=b"".join(line + b"\n" for line in lines),
            params={"wait": wait},
            headers={"Content-Type": "application/x-ndjson"},
            timeout_s=timeout_s,
        )
        rejected = [(one["line"], one["reason"]) for one in found["rejected"]]
        return Load(found["accepted"], rejected, found["rejected_total"])

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        response = self._send(method, path, **request)
        if not response.is_success:
            raise error_of(response)
        return _object(response)

    def _send(
        self, method: str, path: str, timeout_s: float = ANSWER_MARGIN_S, **request: Any
    ) -> httpx.Response:
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            return self._http.request(method, path, timeout=timeout, **request)
        except httpx.TimeoutException as error:
            what = type(error).__name__.removesuffix("Timeout").lower()
            raise UnavailableError(
                f"the gateway at {self.url} did not answer in time ({what})"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(f"no gateway answers at {self.url}: {error}") from error


def error_of(response: httpx.Response) -> HedgerowError:
    """Return the error of the tree that a problem stands for."""
    found = _object(response)
    status = response.status_code
    detail = str(found.get("detail") or f"the gateway answers HTTP {status}")
    if status in {400, 413}:
        kind = TooLargeError if status == 413 else BadRequestError
        field, reason = found.get("field", "request"), found.get("reason", detail)
        return kind(field, reason, found.get("position"))
    if status in {429, 503}:
        wait_s = response.headers.get("Retry-After", "")
        return UnavailableError(detail, float(wait_s) if wait_s.isdecimal() else 1.0)
    return {404: NotFoundError, 409: ConflictError}.get(status, HedgerowError)(detail)


def search_result(found: Mapping[str, Any]) -> SearchResult:
    """Turn the body of an answer, or of a problem that carries one, into a typed result."""
    shards, coverage, fetch = found["shards"], found["coverage"], found.get("fetch")
    return SearchResult(
        hits=[Hit(hit["id"], hit["score"], hit["shard"], hit["fields"]) for hit in found["hits"]],
        total_hits=TotalHits(found["total_hits"]["value"], found["total_hits"]["relation"]),
        coverage=Coverage(coverage["documents"], coverage["documents_total"], coverage["degraded"]),
        outcomes={outcome: shards[outcome.value] for outcome in Outcome},
        detail=[
            ShardDetail(**{**detail, "outcome": Outcome(detail["outcome"])})
            for detail in shards["detail"]
        ],
        took_ms=found["took_ms"],
        deadline_ms=found["deadline_ms"],
        fetch=None
        if fetch is None
        else FetchReport(
            fetch["fetched"],
            fetch["missing"],
            tuple((problem["shard"], problem["reason"]) for problem in fetch["problems"]),
        ),
        warnings=tuple(found["warnings"]),
    )


def _collection(name: str) -> str:
    return f"/v1/collections/{quote(name, safe='')}"


def _object(response: httpx.Response) -> dict[str, Any]:
    """Return the body's JSON object; an empty one when the body is something else."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
