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
_TIE: Final = 1e-5  # a relative difference in single precision that may be none
_BLOCK_BYTES: Final = 8_388_608  # of rows that are compared at once
_FEW: Final = 64  # rows that are compared in double precision sooner than sorted out before


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


class Near(NamedTuple):
    """Rows near to a query.

    Attributes:
        rows: the nearest first.
        scores: about theirs.
    """

    rows: Numbers
    scores: Numbers

    def first(self, num: int) -> "Near":
        """The nearest ones alone."""
        return Near(self.rows[:num], self.scores[:num])

    def num_with_ties(self, num: int) -> int:
        """How many are among the `num` nearest, or tie with the last of them."""
        if len(self.rows) <= num:
            return len(self.rows)
        last = float(self.scores[num - 1])
        return int(np.count_nonzero(self.scores >= last - abs(last) * _TIE - 1e-30))


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

    def nearest(self, query: Query, num: int, *, start: int = 0) -> Near:
        """The `num` nearest rows from `start` on, and all others that may be as near as the last.

        The scores are in single precision.
        """
        matrix = self.matrix[start:]
        scores = self._scores(query, matrix)
        rows = np.arange(len(scores))
        if len(rows) > num > 0:
            rows = _best(scores, num, _error_of(query, matrix, scores, num))
        order = np.argsort(-scores[rows], kind="stable")
        return Near(rows[order] + start, scores[rows][order])

    def ranked(self, query: Query, rows: Numbers) -> Near:
        """Some rows, with scores in single precision."""
        rows = rows[rows < len(self.matrix)]
        scores = self._scores(query, self.matrix[rows])
        order = np.argsort(-scores, kind="stable")
        return Near(rows[order], scores[order])

    def best(self, query: Query, rows: Numbers, num: int) -> tuple[Numbers, list[float]]:
        """The best of some rows: their places in `rows`, and their scores, in no order.

        All that tie with the last are among them, and perhaps some others.
        """
        places = np.arange(len(rows))
        if len(rows) > max(num, _FEW):
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
            if np.isfinite(np.sum(scores)):  # a fifth of what `nan_to_num` takes
                return scores
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
