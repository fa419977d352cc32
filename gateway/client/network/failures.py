"""Turns network errors into errors of common.errors."""

from types import TracebackType
from typing import Literal

from hedgerow.common.errors import UnavailableError

Phase = Literal["connect", "write", "read"]


class Failures:
    """A block of I/O, whose OSErrors become an UnavailableError that names the URL.

    Put only network I/O into it, so that an OSError of the caller's documents is not converted.
    """

    __slots__ = ("_phase", "_url")

    def __init__(self, url: str, phase: Phase) -> None:
        """Name `phase` if the time is up."""
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
        """Convert the error of the block.

        Raises:
            UnavailableError: no gateway answers in time.
        """
        if isinstance(error, TimeoutError):
            raise UnavailableError(
                f"the gateway at {self._url} did not answer in time ({self._phase})"
            ) from error
        if isinstance(error, OSError):
            raise UnavailableError(f"no gateway answers at {self._url}: {error}") from error
