"""The engines that are measured as they are used, and the ways in which each is asked."""

from bench.search.catalogue import Engine, Kind

_IDS = "fields: false"
_SIZES = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 4))

ENGINES = (
    Engine(
        name="up",
        title="`gateway up`",
        kind=Kind.OURS,
        module="hedgerow_up",
        ways=(
            ("http", "HTTP"),
            ("http-ids", f"HTTP, `{_IDS}`"),
            ("client", "Python client"),
            ("client-ids", f"Python client, `{_IDS}`"),
        ),
        is_client_apart=True,
    ),
    Engine(
        name="yourself",
        title="what you would write yourself",
        kind=Kind.RIVAL,
        module="yourself",
        ways=(("http", "HTTP"), ("http-ids", "HTTP, without fields")),
        is_client_apart=True,
    ),
)


def sized(num_shards: int, num_workers: int) -> Engine:
    """A cluster of a given size."""
    return Engine(
        name=f"{num_shards}x{num_workers}",
        title=f"{num_shards} on {num_workers}",
        kind=Kind.OURS,
        module="hedgerow_up",
        ways=(("http-patient", ""),),
        options=("--shards", str(num_shards), "--workers", str(num_workers)),
        is_client_apart=True,
    )


SIZES = tuple(sized(num_shards, num_workers) for num_shards, num_workers in _SIZES)
