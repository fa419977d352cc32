"""Reads rows of a Parquet file, which `gateway.cli.loading.parquet_reader` decodes in a process."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Final, NamedTuple, Self

from pydantic_core import from_json

from hedgerow.common.errors import BadRequestError, ConfigurationError
from hedgerow.gateway.cli.loading.lines import Line
from hedgerow.gateway.cli.loading.parquet_reader import Task

DEFAULT_MEMORY_MB: Final = 160
# Rows that are decoded at once: first, and after they took too much memory.
BATCH_ROWS: Final = (64, 1)


class ParquetBounds(NamedTuple):
    """Limits for reading a Parquet file.

    Attributes:
        max_bytes: the largest document.
        memory_mb: most memory for decoding, in MB (Linux only).
    """

    max_bytes: int
    memory_mb: int = DEFAULT_MEMORY_MB


class ParquetRows:
    """The rows of a file, readable once; a context manager that ends the decoding.

    Attributes:
        number: how many rows have been read.
    """

    def __init__(self, stream: IO[bytes], name: str, id_field: str, bounds: ParquetBounds) -> None:
        """Start decoding.

        Args:
            stream: the file, which has a descriptor and is seekable.
            name: names the file in messages.
            id_field: the column of the ids.
            bounds: limits of document size and memory.

        Raises:
            BadRequestError: it is not Parquet, or its metadata are too large.
            ConfigurationError: pyarrow is not installed.
        """
        if importlib.util.find_spec("pyarrow") is None:
            raise ConfigurationError(
                "reading .parquet needs pyarrow, in the extra `parquet` (`make setup` installs it)"
            )
        self.number = 0
        self._total: int | None = None
        self._stream = stream
        self._name = name
        self._id_field = id_field
        self._bounds = bounds
        self._batch_rows = iter(BATCH_ROWS)
        self._process = self._start()
        try:
            self._total = self._read_total()
        except BaseException:
            self.close()
            raise

    @property
    def total(self) -> int:
        """The number of rows according to the file."""
        return self._total or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding."""
        self._process.kill()
        self._output.close()
        self._process.wait()

    def __iter__(self) -> Iterator[Line]:
        """Yield the rows.

        Raises:
            BadRequestError: the file cannot be read to its end, or takes too much memory.
        """
        while (frame := self._next()) != b".":
            self.number += 1
            place = f"row {self.number}"
            if frame.startswith(b"+"):
                yield Line(self.number, frame[1:], place=place)
            else:
                reason, document = from_json(frame[1:])
                yield Line(self.number, document.encode(), reason, place)

    def _start(self) -> "subprocess.Popen[bytes]":
        task = Task(
            id_field=self._id_field,
            max_bytes=self._bounds.max_bytes,
            memory_bytes=self._bounds.memory_mb * 1024 * 1024,
            batch_rows=next(self._batch_rows),
            skip=self.number,
        )
        # -P: a folder `gateway` in the current directory must not be imported instead of ours.
        return subprocess.Popen(  # noqa: S603 - our own program
            [
                sys.executable,
                "-P",
                "-m",
                "hedgerow.gateway.cli.loading.parquet_reader",
                task.to_json(),
            ],
            stdin=self._stream,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    @property
    def _output(self) -> IO[bytes]:
        output = self._process.stdout
        assert output is not None  # noqa: S101 - a pipe was asked for
        return output

    def _read_total(self) -> int:
        return int(self._next()[1:])

    def _next(self) -> bytes:
        """Read the process's next line; if it dies, restart it once, with fewer rows at a time."""
        while True:
            frame = self._output.readline()
            if frame.endswith(b"\n"):
                if frame.startswith(b"!"):
                    reason = from_json(frame[1:])
                    raise BadRequestError("SOURCE", f"{self._name} cannot be read: {reason}")
                return frame[:-1]
            self.close()
            try:
                self._process = self._start()
            except StopIteration:
                raise BadRequestError("SOURCE", self._why()) from None
            if self._total is not None:
                self._read_total()

    def _why(self) -> str:
        where = f"{self._name} cannot be read further than row {self.number}"
        return (
            f"{where}: decoding it takes more than {self._bounds.memory_mb} MB of memory "
            "(--parquet-memory-mb), or the file crashes the decoder"
        )
