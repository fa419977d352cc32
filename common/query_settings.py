"""Settings of what a query may cost."""

from pydantic import Field

from common.config_group import Group, PositiveFloat, PositiveInt


class QuerySettings(Group):
    """What a query may cost, its filter included; the gateway refuses what costs more (400)."""

    max_clauses: PositiveInt = Field(
        2048,
        description="Most words and values of a query with its filter. Each takes a scorer about "
        "3 us on 20,000 short documents, one that excludes 20.",
    )
    max_fuzzy_edits: PositiveInt = Field(
        16,
        description="Most edits that the fuzzy words of a query allow together: 16 words with ~1, "
        "or 8 with ~2. Each takes a scorer about 1.2 ms on 20,000 short documents.",
    )
    max_prefix_terms: PositiveInt = Field(
        8,
        description="Most beginnings of words (lib*) in texts. Each takes a scorer up to 2.5 ms on "
        "20,000 short documents.",
    )
    max_scans: PositiveInt = Field(
        32,
        description="Most ranges, beginnings of keywords, and parts that match nearly every "
        "document (*, field:*, a lone NOT). Each takes a scorer up to 0.9 ms on 20,000 documents.",
    )
    max_sloppy_words: PositiveInt = Field(
        32,
        description='Most words of phrases that allow for gaps ("high seas"~2). Each takes a '
        "scorer up to 0.4 ms on 20,000 short documents.",
    )
    heavy_ms: PositiveFloat = Field(
        20.0,
        description="A query that is estimated to take a scorer longer on one shard is heavy: "
        "time-outs while it runs do not count against breakers, in ms.",
    )
