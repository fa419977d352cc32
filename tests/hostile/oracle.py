"""What every answer must be, whatever was asked: docs/http.md, made into a check."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.hostile.sockets import Answer

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
# Overload, a lack of time and a full disk; and 501 and 505, which HTTP gives to requests at fault.
ALLOWED_FAILURES = frozenset({501, 503, 504, 505, 507})
# The HTTP parser answers by itself when it cannot even tell where a request ends.
_PARSER_SAYS = b"Invalid HTTP request received."


@dataclass(frozen=True, slots=True)
class Contract:
    """What docs/http.md promises of answers.

    Attributes:
        statuses: those that it names.
        problems: the types of problems that it names.
    """

    statuses: frozenset[int]
    problems: frozenset[str]

    @classmethod
    def read(cls, page: Path = PAGE) -> Self:
        """Read the promises from the page's tables."""
        text = page.read_text(encoding="utf-8")
        statuses = re.search(r"^\| status \| when \|\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
        assert statuses is not None, f"{page} has lost its table of statuses"
        return cls(
            frozenset(map(int, re.findall(r"^\| (\d{3}) \|", statuses[1], re.MULTILINE))),
            frozenset(re.findall(r"^\| `(urn:problem-type:[^`]+)` \|", text, re.MULTILINE)),
        )

    def complaint(self, answer: Answer) -> str:
        """What is wrong with an answer; "" when nothing is."""
        status, kind = answer.status, answer.headers.get("content-type", "")
        if status >= 500 and status not in ALLOWED_FAILURES:
            return f"status {status}: {answer.body[:120]!r}"
        if status == 400 and answer.body == _PARSER_SAYS:
            return ""
        if status not in self.statuses:
            return f"status {status} is not documented: {answer.body[:120]!r}"
        if "json" not in kind:
            return f"status {status} has no problem, but {kind!r}" if status >= 400 else ""
        try:
            body = json.loads(answer.body, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return f"status {status} with JSON that is none: {error}"
        return self._problem_complaint(status, kind, body) if status >= 400 else ""

    def _problem_complaint(self, status: int, kind: str, body: Any) -> str:
        if not kind.startswith("application/problem+json") or not isinstance(body, dict):
            return f"status {status} with {kind} and no problem"
        if body.get("type") not in self.problems:
            return f"problem {body.get('type')} is not documented"
        if body.get("status") != status:
            return f"status {status} says that it is {body.get('status')}"
        return "" if body.get("title") and "detail" in body else f"status {status} without a reason"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
