"""Compares a vector with rows, exactly.

Single precision finds which rows may be among the best; these are then compared in double
precision, row by row, so that a score depends on nothing but the two vectors: not on the rows
beside it, nor on the shard.
"""

from typing import Any, Final, NamedTuple, TypeAlias

from hedgerow.common.fields.vectors import Metric, VectorField
from hedgerow.shard_worker.vectors.files import RowFile
from hedgerow.shard_worker.vectors.numbers import np

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_DIGITS: Final = 7  # of a score
_UNIT: Final = 2.0**-24  # the relative error of a number in single precision
_BLOCK_BYTES: Final = 8_388_608  # of rows that are compared at once


class Query(NamedTuple):
    """A vector that rows are compared with.

    Attributes:
        metric: how.
        exact: in double precision; of length 1 if only its direction counts.
        fast: the same in single precision.
    """

    metric: Metric
    exact: Numbers
    fast: Numbers

    @classmethod
    def of(cls, field: VectorField, packed: bytes) -> "Query":
        """A packed vector that was checked."""
        exact = np.frombuffer(packed, "<f4").astype("f8")
        if field.metric is Metric.COSINE:
            exact /= np.sqrt(np.sum(exact * exact))
        return cls(field.metric, exact, exact.astype("f4"))


def row_of(field: VectorField, packed: bytes) -> bytes:
    """The row for a packed vector: the same, or of length 1 if only its direction counts."""
    if field.metric is not Metric.COSINE:
        return packed
    return Query.of(field, packed).fast.astype("<f4").tobytes()


class Rows:
    """The rows of a file, as numbers."""

    def __init__(self, file: RowFile) -> None:
        """Read rows from a file."""
        dimensions = file.field.dimensions
        flat = np.frombuffer(file.mapped, "<f4", file.num_rows * dimensions)
        self.matrix = flat.reshape(file.num_rows, dimensions)
        self._num_block = max(1, _BLOCK_BYTES // file.field.num_bytes)

    def nearest(self, query: Query, start: int, num: int) -> Numbers:
        """The rows from `start` on that are among the `num` nearest, in no order; or a few more."""
        rows = np.arange(start, len(self.matrix))
        if len(rows) <= num:
            return rows
        return rows[_best(self._scores(query, self.matrix[start:]), num, 0.0)]

    def nearest_of(self, query: Query, rows: Numbers, num: int) -> Numbers:
        """The `num` nearest of some rows, in no order; or a few more, if they are as near."""
        rows = rows[rows < len(self.matrix)]
        if len(rows) <= num:
            return rows
        return rows[_best(self._scores(query, self.matrix[rows]), num, 0.0)]

    def best(self, query: Query, rows: Numbers, num: int) -> tuple[Numbers, list[float]]:
        """The best of some rows: their places in `rows`, and their scores, in no order.

        All that tie with the last are among them.
        """
        places = np.arange(len(rows))
        if len(rows) > num:
            some = self.matrix[rows]
            scores = self._scores(query, some)
            places = _best(scores, num, _error_of(query, some, scores, num))
        some = self.matrix[rows[places]].astype("f8")
        # A sum along an axis adds up each row in the same way, however many there are.
        if query.metric is Metric.L2:
            exact = -np.sum((some - query.exact) ** 2, axis=1)
        else:
            exact = np.sum(some * query.exact, axis=1)
        return places, [shown_score(score) for score in exact.tolist()]

    def _scores(self, query: Query, rows: Numbers) -> Numbers:
        """About the scores of rows; with infinities where single precision is too small."""
        scores = np.empty(len(rows), "f4")
        with np.errstate(all="ignore"):
            for start in range(0, len(rows), self._num_block):
                block = rows[start : start + self._num_block]
                if query.metric is Metric.L2:
                    differences = block - query.fast
                    found = -np.einsum("ij,ij->i", differences, differences)
                else:
                    found = block @ query.fast
                scores[start : start + self._num_block] = found
        return np.nan_to_num(scores, copy=False, nan=np.inf, posinf=np.inf, neginf=-np.inf)


def shown_score(score: float) -> float:
    """A score as it is shown: equal for equal vectors, whatever computed it."""
    return float(f"{score:.{_DIGITS}g}") + 0.0  # -0.0 becomes 0.0


def _best(scores: Numbers, num: int, error: float) -> Numbers:
    """The places of the `num` best scores, and of those that may be as good."""
    last = np.partition(scores, len(scores) - num)[len(scores) - num]
    return np.flatnonzero(scores >= last - error)


def _error_of(query: Query, rows: Numbers, scores: Numbers, num: int) -> float:
    """By how much two scores may be off together."""
    step = 4 * (len(query.fast) + 4) * _UNIT
    match query.metric:
        case Metric.COSINE:
            return step
        case Metric.L2:
            last = np.partition(scores, len(scores) - num)[len(scores) - num]
            size = abs(float(last))
        case Metric.DOT:
            longest = float(np.max(np.einsum("ij,ij->i", rows, rows, dtype="f8")))
            size = float(np.sqrt(longest * np.sum(query.exact * query.exact)))
    return step * size + 10.0**-30
