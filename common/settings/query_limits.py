"""Limits on what a query may cost."""

from pydantic import Field

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt


class QuerySettings(Group):
    """What a query and its filter may cost; the gateway refuses a query that costs more (400)."""

    max_clauses: PositiveInt = Field(
        2048,
        description="Most words and values in a query and its filter together. Each takes a "
        "scorer about 3 us on 20,000 short documents, or 20 us if it excludes documents.",
    )
    max_fuzzy_edits: PositiveInt = Field(
        16,
        description="Most edits that the fuzzy words of a query may allow together: 16 words with "
        "~1, or 8 with ~2. Each edit takes a scorer about 1.2 ms on 20,000 short documents.",
    )
    max_prefix_terms: PositiveInt = Field(
        8,
        description="Most prefixes of words (lib*) in text fields. Each takes a scorer up to 2.5 "
        "ms on 20,000 short documents.",
    )
    max_scans: PositiveInt = Field(
        32,
        description="Most ranges, prefixes of keywords, and parts that match nearly every "
        "document (*, field:*, a lone NOT). Each takes a scorer up to 0.9 ms on 20,000 documents.",
    )
    max_sloppy_words: PositiveInt = Field(
        32,
        description='Most words in phrases that allow gaps ("high seas"~2). Each takes a scorer '
        "up to 0.4 ms on 20,000 short documents.",
    )
    max_facets: PositiveInt = Field(
        16,
        description="Most facets of a search. Each takes a scorer about 1 ms if 100,000 documents "
        "match.",
    )
    max_facet_values: PositiveInt = Field(
        10_000,
        le=50_000,
        description="Most values that a shard returns for a facet, so that fields with no more "
        "values are counted exactly; also the most intervals of a histogram, and the largest size "
        "of a facet. 10,000 values take a scorer about 10 ms.",
    )
    max_sort_keys: PositiveInt = Field(
        4, description="Most fields by which hits are sorted, the score included."
    )
    max_score_depth: PositiveInt = Field(
        100_000,
        le=100_000,
        description="How many hits deep search_after goes in the order by score, since a scorer "
        "has to pass over them. In the order by a field there is no limit.",
    )
    max_vector_k: PositiveInt = Field(
        1000,
        le=10_000,
        description="Most neighbours that a search by a vector looks for in each shard (`k` of the "
        "vector, or of the search with its offset).",
    )
    max_vector_ef: PositiveInt = Field(
        2000,
        le=10_000,
        description="Most documents that an index keeps in view while it looks for them (`ef` of "
        "the vector). The time that it takes grows with it: about 1 ms for 500.",
    )
    max_synonyms: PositiveInt = Field(
        32,
        description="Most synonyms that are added to a query, for its first words first. Each "
        "costs what its words cost as a phrase.",
    )
    max_snippets: PositiveInt = Field(
        100, description="Most snippets of a field that a search may ask for in its highlights."
    )
    max_snippet_chars: PositiveInt = Field(
        10_000, description="Most characters of a snippet that a search may ask for."
    )
    max_highlight_chars: PositiveInt = Field(
        100_000,
        description="How much of a text is looked at for highlights, in characters; what comes "
        "after it has none. 100,000 characters of English take a worker about 4 ms.",
    )
    max_like_terms: PositiveInt = Field(
        100, description="Most words of a document that a search for others like it may use."
    )
    heavy_ms: PositiveFloat = Field(
        20.0,
        description="A query is heavy if it is estimated to take a scorer longer than this on one "
        "shard, in ms. While a heavy query runs, timeouts do not count against breakers.",
    )
