"""Divides the time for a connection among the addresses of a host."""


def share_s(left_s: float, num_left: int) -> float:
    """Return how long to wait for the next of the addresses that are left to try, in s.

    An equal share, so that one that does not answer, as that of a broken IPv6, leaves time for
    those that do.

    Raises:
        TimeoutError: no time is left.
    """
    if left_s <= 0:
        raise TimeoutError
    return left_s / num_left
