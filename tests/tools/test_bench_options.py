"""The benchmark of options asks for what its rows say."""

from pathlib import Path

from bench.options import QUERIES, Bench, Reads, build, synonyms_of
from hedgerow.shard_worker.storage.term_statistics import collect, statistics_path, write_table


def test_every_row_finds_or_counts_something(tmp_path: Path) -> None:
    """No row is about a search that finds nothing, or asks for nothing."""
    build(tmp_path, 2000)
    bench = Bench(tmp_path)
    for query in QUERIES:
        for name, options in bench.cases(query).items():
            # Of a few hits, each may be of a brand of its own.
            k = 60 if options.group_by else 10
            whole, found = bench.answer(query, k=k), bench.answer(query, options, k)
            assert len(found.ids) == k, name
            is_of_all = options.vector is not None  # whatever the query is
            assert found.total == (2000 if is_of_all else whole.total), name
            assert found.extras is not None, name
            assert (found.ids != whole.ids) == (not options.facets), name
            assert len(set(found.extras.groups)) in {0, k}, name
            assert all(part.counts or part.stats for part in found.extras.facets), name
        for name, (chosen, without) in bench.refined().items():
            found, whole = bench.answer(query, chosen), bench.answer(query, without)
            assert 0 < found.total < whole.total, name
    numbers = [bench.answer("w0", synonyms_of("w0", num)).total for num in (0, 1, 8)]
    assert sorted(set(numbers)) == numbers
    write_table(statistics_path(tmp_path, "goods"), collect(bench.index))
    assert [slip.candidates[0][0] for slip in bench.slips("colourr")] == ["colour"]
    for name, (one, other) in bench.by_statistics().items():
        assert one() != other(), name
    bench.close()


def test_every_document_that_is_read_has_highlights(tmp_path: Path) -> None:
    """No row is about texts in which nothing matches."""
    reads = Reads(tmp_path, 3000)
    for query, typos in (("word1 word900", 0), ("word1 wordone", 2)):
        assert all(found and b"<em>" in found for found in reads.read(query, typos)().highlights)
    assert reads.read()().highlights == ()
    reads.close()
