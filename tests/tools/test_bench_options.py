"""The benchmark of options asks for what its rows say."""

from pathlib import Path

from bench.options import QUERIES, Bench, build, synonyms_of


def test_every_row_finds_or_counts_something(tmp_path: Path) -> None:
    """No row is about a search that finds nothing, or asks for nothing."""
    build(tmp_path, 2000)
    bench = Bench(tmp_path)
    for query in QUERIES:
        whole = bench.answer(query)
        for name, options in bench.cases(query).items():
            found = bench.answer(query, options)
            assert len(found.ids) == 10, name
            is_of_all = options.vector is not None  # whatever the query is
            assert found.total == (2000 if is_of_all else whole.total), name
            assert found.extras is not None, name
            is_other = found.ids != whole.ids
            assert is_other == (not options.facets), name
            assert all(part.counts or part.stats for part in found.extras.facets), name
    numbers = [bench.answer("w0", synonyms_of("w0", num)).total for num in (0, 1, 8)]
    assert sorted(set(numbers)) == numbers
    bench.close()
