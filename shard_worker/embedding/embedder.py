"""Makes the vectors of documents from their texts, in batches, in the indexer process."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError, EmbeddingError, WorkError
from hedgerow.common.fields.embed_function import EmbedFunction, num_dimensions
from hedgerow.common.fields.embedding_counts import NONE, EmbeddingCounts
from hedgerow.common.fields.vectors import VectorField
from hedgerow.common.settings.embed import EmbedSettings

# Of vectors that were made last. A batch of the log that fails is applied again, and then in parts;
# so only the texts at fault cost anything again.
MAX_KEPT_BYTES: Final = 32_000_000

_TIMED_OUT: Final = 75  # the exit status of a process whose function did not return

_log = structlog.get_logger()


@dataclass(frozen=True)
class EmbedConfig:
    """What an indexer process needs to know to embed.

    Attributes:
        functions: the functions that fields may name.
        batch: most texts of one call.
        timeout_s: the longest that a call may take, in s.
    """

    functions: frozenset[str] = frozenset()
    batch: int = 64
    timeout_s: float = 60.0

    @classmethod
    def of(cls, settings: EmbedSettings) -> "EmbedConfig":
        """Take what is needed from the settings."""
        return cls(frozenset(settings.functions), settings.batch, settings.timeout_s)


class Embedder:
    """Calls the functions that fields name; each is imported when it is first needed."""

    def __init__(
        self, config: EmbedConfig, watch: Callable[[float, str], Iterator[None]] | None = None
    ) -> None:
        """Embed as `config` says.

        Args:
            config: which functions may be called, and how.
            watch: makes an iterator that a call runs between two steps of, given its limit in s and
                what is called; None to end the process if the call takes longer.
        """
        self._config = config
        self._watched = contextmanager(watch or _ending_the_process)
        self._functions: dict[str, EmbedFunction] = {}
        self._kept: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._counts = NONE

    def take_counts(self) -> EmbeddingCounts:
        """What was embedded since this was last called."""
        counts, self._counts = self._counts, NONE
        return counts

    def vectors(self, function: str, dimensions: int, texts: Mapping[str, str]) -> dict[str, bytes]:
        """Embed the texts of some documents.

        Args:
            function: `module:function`.
            dimensions: of the field's vectors.
            texts: id of each document → its text, which is not empty.

        Returns:
            Id → vector, as little-endian float32.

        Raises:
            EmbeddingError: a text could not be embedded; names its document.
            WorkError: the function is not allowed, or cannot be imported.
        """
        embed = self._function(function)
        keys = {one: (function, _digest(text)) for one, text in texts.items()}
        found = {one: self._kept[key] for one, key in keys.items() if key in self._kept}
        left = iter([one for one in texts if one not in found])
        while ids := list(islice(left, self._config.batch)):
            for one, vector in self._embedded(embed, function, ids, texts):
                if num_dimensions(vector) != dimensions:
                    raise EmbeddingError(
                        f"{function} returned {num_dimensions(vector)} dimensions for document "
                        f"{one!r}; the field has {dimensions}"
                    )
                found[one] = vector
                self._keep(keys[one], vector)
        return found

    def of_field(self, field: VectorField, texts: Mapping[str, str]) -> dict[str, bytes]:
        """`vectors` with the function that a field names; none if it names none."""
        if (embedding := field.embedding) is None:
            return {}
        return self.vectors(embedding.function, field.dimensions, texts)

    def _embedded(
        self, embed: EmbedFunction, function: str, ids: Sequence[str], texts: Mapping[str, str]
    ) -> Iterator[tuple[str, bytes]]:
        """Embed some texts at once, or else one by one, up to the first that is at fault."""
        try:
            made = self._call(embed, function, [texts[one] for one in ids])
        except EmbeddingError as error:
            if len(ids) == 1:
                raise EmbeddingError(f"document {ids[0]!r}: {error}") from error
            _log.warning("embedding_one_by_one", function=function, reason=str(error))
        else:
            yield from zip(ids, made, strict=True)
            return
        for one in ids:
            yield from self._embedded(embed, function, [one], texts)

    def _call(self, embed: EmbedFunction, function: str, texts: Sequence[str]) -> list[bytes]:
        started = time.monotonic()
        num_embedded = 0
        try:
            with self._watched(self._config.timeout_s, function):
                made = embed(texts)
            num_embedded = len(made)
            return made
        finally:
            # The texts of several that failed count when they are tried one by one.
            failed = 1 if len(texts) == 1 and not num_embedded else 0
            took_s = time.monotonic() - started
            self._counts = self._counts.plus(EmbeddingCounts(num_embedded, failed, 1, took_s))

    def _function(self, reference: str) -> EmbedFunction:
        if reference not in self._functions:
            if reference not in self._config.functions:
                raise WorkError(f"{reference} is not among this worker's embed.functions")
            try:
                self._functions[reference] = EmbedFunction(reference)
            except ConfigurationError as error:
                raise WorkError(f"embed.functions: {error}") from error
        return self._functions[reference]

    def _keep(self, key: tuple[str, bytes], vector: bytes) -> None:
        if key not in self._kept:
            self._kept_bytes += len(vector)
        self._kept[key] = vector
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _ending_the_process(timeout_s: float, function: str) -> Iterator[None]:
    """End this process unless the iterator is resumed within `timeout_s`.

    A function that hangs cannot be stopped otherwise. The worker starts another indexer, and
    applies the batch again, later in parts (`set_aside`).
    """

    def end() -> None:
        _log.error("embedding_timed_out", function=function, timeout_s=timeout_s)
        os._exit(_TIMED_OUT)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
