"""What goes wrong on the way to a gateway, as an error of the one tree."""

from types import TracebackType
from typing import Literal

from hedgerow.common.errors import UnavailableError

Phase = Literal["connect", "write", "read"]


class Failures:
    """A block of I/O, whose OSErrors become an UnavailableError that names the URL.

    It holds I/O alone: an OSError of the caller's documents stays what it is.
    """

    __slots__ = ("_phase", "_url")

    def __init__(self, url: str, phase: Phase) -> None:
        """Name `phase` where the time is up."""
        self._url = url
        self._phase = phase

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Translate what the block has raised.

        Raises:
            UnavailableError: no gateway answers, or not in time.
        """
        if isinstance(error, TimeoutError):
            raise UnavailableError(
                f"the gateway at {self._url} did not answer in time ({self._phase})"
            ) from error
        if isinstance(error, OSError):
            raise UnavailableError(f"no gateway answers at {self._url}: {error}") from error
