"""Writes the arrays of numpy, and of libraries that are alike, as JSON; imports none of them."""

from collections.abc import Sequence


def as_list(value: object) -> object:
    """What msgspec writes for an object that it does not know.

    Args:
        value: an array or a number of numpy, PyTorch, pandas, or the standard library's `array`, or
            another sequence.

    Raises:
        TypeError: it is none of these.
    """
    to_list = getattr(value, "tolist", None)
    if to_list is not None:
        return to_list()
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"an object of type {type(value).__name__} cannot be written as JSON")
