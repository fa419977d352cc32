"""More callers than `gateway up` can answer: goodput, partial answers, and what refusals cost."""
