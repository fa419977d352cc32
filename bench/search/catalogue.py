"""The engines that are measured, and the ways in which each is asked."""

from dataclasses import dataclass
from enum import Enum

from bench.harness import options

NO_SEARCH = "noop"  # the way of asking that costs everything except the search
SCORERS = "hedgerow-scorers"  # the engine that costs only the search


class Kind(Enum):
    """What an engine is, as far as the targets are concerned."""

    LIMIT = "the limit"
    OURS = "Hedgerow"
    RIVAL = "rival"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine.

    Attributes:
        name: on the command line.
        title: on the page.
        module: inside `bench.search.inside`; "lucene" is a Java class.
        ways: way of asking → what the page adds to the title.
        options: of the module, as words.
        num_processes: how many of its processes run, each with its share of the queries in flight.
        environment: the virtual environment, `requirements/NAME.txt`; empty for the project's own.
        is_client_apart: whether the process that the driver talks to is a client, whose memory is
            not the engine's.
    """

    name: str
    title: str
    kind: Kind
    module: str
    ways: tuple[tuple[str, str], ...]
    options: tuple[str, ...] = ()
    num_processes: int = 1
    environment: str = ""
    is_client_apart: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine asked in one way: a row of the table."""

    engine: Engine
    way: str

    @property
    def kind(self) -> Kind:
        """The engine's kind, except that a way without a search has no targets."""
        return Kind.OTHER if self.way == NO_SEARCH else self.engine.kind

    @property
    def name(self) -> str:
        """Unique among all."""
        return f"{self.engine.name} {self.way}"

    @property
    def title(self) -> str:
        """The title in the table."""
        added = dict(self.engine.ways)[self.way]
        return f"{self.engine.title}, {added}" if added else self.engine.title


def hedgerow(num_shards: int, num_workers: int = 1) -> Engine:
    """Hedgerow with a number of shards on a number of workers."""
    shards = f"{num_shards} shard{'s' if num_shards > 1 else ''}"
    ways = (("http", "HTTP"), ("client", "Python client"))
    return Engine(
        name=f"hedgerow-{num_shards}",
        title=f"Hedgerow, {shards}",
        kind=Kind.OURS,
        module="hedgerow",
        # What does not depend on shards is measured once.
        ways=(*ways, (NO_SEARCH, "HTTP, no search")) if num_shards == 1 else ways,
        options=(str(num_shards), str(num_workers)),
        is_client_apart=True,
    )


def engines(num_cores: int) -> tuple[Engine, ...]:
    """All engines in the order of the table, configured for this number of cores."""
    return (
        Engine(
            "tantivy",
            "tantivy, one process",
            Kind.LIMIT,
            "tantivy",
            (("best", "top 10"), ("count", "top 10 and count")),
            (str(num_cores),),
        ),
        *(hedgerow(num_shards) for num_shards in (1, 2, 4, 8)),
        Engine(
            SCORERS,
            "Hedgerow's scorers alone, 1 shard",
            Kind.OTHER,
            "hedgerow_scorers",
            (("score", ""),),
            num_processes=num_cores,
        ),
        Engine(
            "lucene",
            "Lucene, one process",
            Kind.OTHER,
            "lucene",
            (("best", "top 10"),),
            (str(num_cores),),
        ),
        Engine(
            "sqlite",
            "SQLite FTS5",
            Kind.RIVAL,
            "sqlite",
            (("sql", ""),),
            (),
            num_processes=num_cores,
        ),
        Engine(
            "postgresql",
            "PostgreSQL",
            Kind.RIVAL,
            "postgresql",
            (("sql", ""),),
            (str(2 * num_cores),),
            environment="postgresql",
            is_client_apart=True,
        ),
    )


def choose(names: str, num_cores: int) -> list[Engine]:
    """The engines that a list like `tantivy,hedgerow` names, by name or module; all if empty.

    Raises:
        ValueError: no engine has one of the names.
    """
    found = engines(num_cores)
    return options.choose(names, found, lambda engine: {engine.name, engine.module}, "engine")
