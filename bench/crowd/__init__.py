"""More callers than `gateway up` can serve: goodput, partial answers, and the cost of refusals."""
