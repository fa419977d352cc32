"""A bulk load in pieces of bounded size: a failure costs one of them, and says where it was."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from common.errors import HedgerowError, UnavailableError
from gateway.client import GatewayClient, Load
from gateway.sources import Line

PIECE_BYTES: Final = 4 * 1024 * 1024
PIECE_LINES: Final = 5_000
ANSWER_TIMEOUT_S: Final = 120.0  # above the gateway's own longest wait for its replicas
GIVE_UP_AFTER_S: Final = 60.0
LONGEST_PAUSE_S: Final = 5.0


class Rejected(NamedTuple):
    """A line that did not go in."""

    line: int
    reason: str
    document: bytes


class Progressed(NamedTuple):
    """How far a load has got: documents accepted, time since its start in s."""

    accepted: int
    took_s: float


class Loader:
    """Loads documents; a piece that fails for now is sent again, since upserts change nothing."""

    def __init__(
        self,
        client: GatewayClient,
        collection: str,
        wait: Literal["logged", "applied"],
        on_rejected: Callable[[Rejected], None],
        on_progress: Callable[[Progressed], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Load into `collection`.

        Args:
            client: of the gateway.
            collection: which exists.
            wait: what each piece is waited for.
            on_rejected: told of each line that did not go in.
            on_progress: told after each piece.
            pause: sleeps so many seconds before a piece is sent again.
        """
        self._client = client
        self._collection = collection
        self._wait = wait
        self._on_rejected = on_rejected
        self._on_progress = on_progress
        self._pause = pause
        self._accepted = 0
        self._started = time.monotonic()

    def load(self, lines: Iterable[Line]) -> Progressed:
        """Load all lines.

        Raises:
            HedgerowError: it stopped; says at which line.
        """
        for piece in pieces(self._only_good(lines)):
            self._send(piece)
            self._on_progress(self._progressed())
        return self._progressed()

    def _only_good(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            if line.reason:
                self._on_rejected(Rejected(line.number, line.reason, line.document))
            else:
                yield line

    def _send(self, piece: list[Line]) -> None:
        """Send one piece; what a report left out for length is asked for by sending the rest."""
        is_first = True
        while piece:
            report = self._send_patiently(piece)
            if is_first:
                self._accepted += report.accepted
            for number, reason in report.rejected:
                line = piece[number - 1]
                self._on_rejected(Rejected(line.number, reason, line.document))
            if report.rejected_total == len(report.rejected):
                return
            is_first, piece = False, piece[report.rejected[-1][0] :]

    def _send_patiently(self, piece: list[Line]) -> Load:
        give_up_at = time.monotonic() + GIVE_UP_AFTER_S
        pause_s = 0.25
        while True:
            try:
                return self._client.load(
                    self._collection,
                    (line.document for line in piece),
                    self._wait,
                    ANSWER_TIMEOUT_S,
                )
            except UnavailableError as error:
                if time.monotonic() >= give_up_at:
                    raise self._stopped(piece, error) from error
                pause_s = min(LONGEST_PAUSE_S, max(pause_s * 2, error.retry_after_s))
                self._pause(pause_s)
            except HedgerowError as error:
                raise self._stopped(piece, error) from error

    def _stopped(self, piece: list[Line], error: HedgerowError) -> HedgerowError:
        return HedgerowError(
            f"stopped between lines {piece[0].number} and {piece[-1].number}, "
            f"{self._accepted} documents were accepted before: {error}"
        )

    def _progressed(self) -> Progressed:
        return Progressed(self._accepted, time.monotonic() - self._started)


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
