"""Loads documents in pieces of bounded size; a failure names the piece in which it happened."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Final, Literal, NamedTuple, Protocol

from hedgerow.common.errors import HedgerowError, InsufficientStorageError, UnavailableError
from hedgerow.gateway.cli.loading.lines import Line
from hedgerow.gateway.client import LoadAnswer

PIECE_BYTES: Final = 4 * 1024 * 1024
PIECE_LINES: Final = 4_000
ANSWER_TIMEOUT_S: Final = 120.0  # above the gateway's own longest wait for its replicas
GIVE_UP_AFTER_S: Final = 60.0
APPLIED_WITHIN_S: Final = 900.0  # backpressure lets replicas be this far behind
LONGEST_PAUSE_S: Final = 5.0


class Rejected(NamedTuple):
    """A line that was not loaded; attributes as in `Line`."""

    line: int
    reason: str
    document: bytes
    place: str = ""

    @property
    def name(self) -> str:
        """Name the document for people."""
        return self.place or f"line {self.line}"


class Progressed(NamedTuple):
    """How far a load has got.

    Attributes:
        accepted: documents that are safe.
        took_s: time since the start, in s.
        is_sent: whether all is sent, and only waiting until it can be found remains.
    """

    accepted: int
    took_s: float
    is_sent: bool = False


class Target(Protocol):
    """Where a piece goes: a gateway's `Client`, or a trial."""

    def index(
        self,
        collection: str,
        documents: Sequence[bytes],
        *,
        wait: Literal["logged", "applied"],
        timeout_s: float,
    ) -> LoadAnswer:
        """Load documents, and report."""


class _Sent(NamedTuple):
    accepted: int
    rejected: list[Rejected]
    report: LoadAnswer
    piece: list[Line]


class Loader:
    """Loads documents; retries a piece after a temporary failure, since upserts are idempotent."""

    def __init__(
        self,
        client: Target,
        collection: str,
        wait: Literal["logged", "applied"],
        on_rejected: Callable[[Rejected], None],
        on_progress: Callable[[Progressed], None],
        pause: Callable[[float], object] | None = None,
        on_waiting: Callable[[UnavailableError, float], None] = lambda _error, _left_s: None,
        on_report: Callable[[LoadAnswer, Sequence[Line]], None] = lambda _report, _piece: None,
    ) -> None:
        """Load into `collection`.

        Args:
            client: of the gateway.
            collection: the collection, which exists.
            wait: what to wait for at the end; until then, each piece is sent as soon as the one
                before is safe.
            on_rejected: called for each line that was not loaded.
            on_progress: called after each piece.
            pause: sleeps for the given time, in s, before a piece is sent again; if None, until
                Ctrl-C at the longest.
            on_waiting: called each time that the gateway cannot take or find the documents for now,
                with the reason and for how long it will be asked again, in s.
            on_report: called with each piece and its report.
        """
        self._client = client
        self._collection = collection
        self._wait = wait
        self._on_rejected = on_rejected
        self._on_progress = on_progress
        self._is_interrupted = Event()
        self._pause = pause or self._is_interrupted.wait
        self._on_waiting = on_waiting
        self._on_report = on_report
        self._accepted = 0
        self._has_rejected = False
        self._last: Line | None = None  # that was sent
        self._taken: Future[_Sent] | None = None
        self._started = time.monotonic()

    def load(self, lines: Iterable[Line]) -> Progressed:
        """Load all lines; reads the next piece while one is being sent.

        Raises:
            HedgerowError: it stopped; says where.
        """
        sent: Future[_Sent] | None = None
        try:
            with (  # one: a later line of the same id must win
                ThreadPoolExecutor(1) as thread,
                self._noting_interrupts(),
            ):
                for piece in pieces(self._only_good(lines)):
                    self._take(sent)
                    self._last = piece[-1]
                    sent = thread.submit(self._send, piece)
                self._take(sent)
        except KeyboardInterrupt:
            # The piece on its way has been waited for, but may not be counted yet.
            raise self._interrupted(sent) from None
        if self._wait == "applied" and (sent is not None or not self._has_rejected):
            # An empty load waits for everything that was logged before it.
            self._on_progress(self._progressed()._replace(is_sent=True))
            try:
                self._patiently([], "applied", APPLIED_WITHIN_S)
            except KeyboardInterrupt:
                them = "it" if self._accepted == 1 else "them"
                raise HedgerowError(
                    f"interrupted; {_documents(self._accepted)} safe, and will be found as soon "
                    f"as the workers have applied {them}"
                ) from None
        return self._progressed()

    @contextmanager
    def _noting_interrupts(self) -> Iterator[None]:
        """Have a piece that waits to be sent again give up at Ctrl-C, before it is waited for."""
        try:
            yield
        except KeyboardInterrupt:
            self._is_interrupted.set()
            raise

    def _only_good(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            if line.reason:
                self._has_rejected = True
                self._on_rejected(Rejected(line.number, line.reason, line.document, line.place))
            else:
                yield line

    def _take(self, sent: Future[_Sent] | None) -> None:
        if sent is None:
            return
        accepted, rejected, report, piece = sent.result()
        self._taken = sent
        self._accepted += accepted
        for line in rejected:
            self._on_rejected(line)
        self._on_report(report, piece)
        self._on_progress(self._progressed())

    def _send(self, piece: list[Line]) -> _Sent:
        """Send one piece; if the report was cut short, send the rest for the remaining reasons."""
        report = first = self._patiently(piece, "logged", GIVE_UP_AFTER_S)
        accepted, rejected, rest = report.accepted, [], piece
        while True:
            for fault in report.rejected:
                line = rest[fault.line - 1]
                rejected.append(Rejected(line.number, fault.reason, line.document, line.place))
            if report.rejected_total == len(report.rejected):
                return _Sent(accepted, rejected, first, piece)
            rest = rest[report.rejected[-1].line :]
            report = self._patiently(rest, "logged", GIVE_UP_AFTER_S)

    def _patiently(
        self, piece: list[Line], wait: Literal["logged", "applied"], give_up_after_s: float
    ) -> LoadAnswer:
        give_up_at = time.monotonic() + give_up_after_s
        documents = [line.document for line in piece]
        pause_s = 0.25
        while True:
            try:
                return self._client.index(
                    self._collection, documents, wait=wait, timeout_s=ANSWER_TIMEOUT_S
                )
            except UnavailableError as error:
                now = time.monotonic()
                if isinstance(error, InsufficientStorageError):
                    # An operator has to make room, so the wait is shorter than for slow replicas.
                    give_up_at = min(give_up_at, now + GIVE_UP_AFTER_S)
                if now >= give_up_at:
                    raise self._stopped(piece, error) from error
                self._on_waiting(error, give_up_at - now)
                pause_s = min(LONGEST_PAUSE_S, max(pause_s * 2, error.retry_after_s))
                self._pause(pause_s)
                if self._is_interrupted.is_set():
                    raise self._stopped(piece, error) from error
            except HedgerowError as error:
                raise self._stopped(piece, error) from error

    def _stopped(self, piece: list[Line], error: HedgerowError) -> HedgerowError:
        if not piece:
            return HedgerowError(
                f"{_documents(self._accepted)} safe, but cannot all be found yet: {error}"
            )
        return HedgerowError(
            f"stopped between {piece[0].name} and {piece[-1].name}, "
            f"{_documents(self._accepted)} accepted: {error}"
        )

    def _interrupted(self, sent: Future[_Sent] | None) -> HedgerowError:
        if sent is not None and sent.done() and sent is not self._taken and not sent.exception():
            self._take(sent)
        upto = "" if self._last is None else f" of those up to {self._last.name}"
        return HedgerowError(
            f"interrupted; {_documents(self._accepted, upto)} safe. To go on, run the same "
            "command again: what is there already does not change"
        )

    def _progressed(self) -> Progressed:
        return Progressed(self._accepted, time.monotonic() - self._started)


def _documents(count: int, which: str = "") -> str:
    return f"1 document{which} is" if count == 1 else f"{count:,} documents{which} are"


def pieces(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Cut into lists of at most `PIECE_LINES` and, unless one line is larger, `PIECE_BYTES`."""
    piece: list[Line] = []
    num_bytes = 0
    for line in lines:
        if piece and (len(piece) >= PIECE_LINES or num_bytes + len(line.document) > PIECE_BYTES):
            yield piece
            piece, num_bytes = [], 0
        piece.append(line)
        num_bytes += len(line.document)
    if piece:
        yield piece
