"""The layout of a cluster: what is stored, and the names that follow from it."""

from pathlib import Path

import msgspec
import pytest

from hedgerow.common.errors import ConfigurationError, NewerVersionError, WireError
from hedgerow.common.redis.keys import Keys
from hedgerow.common.splitting.policy import begin
from hedgerow.common.state.layout import ClusterLayout, Layout, SplitState

SPLITTING = begin(ClusterLayout(3, Layout(0, 4)), 7)


def test_a_layout_is_read_as_it_was_written() -> None:
    """With the split in progress."""
    assert ClusterLayout.from_json(SPLITTING.to_json()) == SPLITTING


def test_a_layout_that_cannot_be_read_is_refused() -> None:
    """Malformed, or of a newer form."""
    with pytest.raises(WireError):
        ClusterLayout.from_json(b"{")
    newer = SPLITTING.to_json().replace(b'"format":1', b'"format":2')
    with pytest.raises(NewerVersionError):
        ClusterLayout.from_json(newer)


def test_each_layout_has_its_number_of_shards() -> None:
    """Both of a split; one that is gone is an error."""
    assert [SPLITTING.num_shards_of(one) for one in (0, 1)] == [4, 8]
    with pytest.raises(ConfigurationError, match="no layout 5"):
        SPLITTING.num_shards_of(5)


def test_only_the_target_of_a_split_is_filled_and_only_while_documents_are_copied() -> None:
    """Not the source, and not once writes are held back."""
    assert [SPLITTING.is_filling(one) for one in (0, 1, 2)] == [False, True, False]
    assert SPLITTING.split is not None
    sealed = msgspec.structs.replace(SPLITTING.split, state=SplitState.SEALED)
    assert not msgspec.structs.replace(SPLITTING, split=sealed).is_filling(1)


def test_the_first_layout_has_the_names_of_a_cluster_that_was_never_split() -> None:
    """Others have a part of their own; what is shared has the same name in all."""
    first, other = Keys("p"), Keys("p").of_layout(2)
    assert (first.log(3), other.log(3)) == ("p:log:3", "p:layout:2:log:3")
    assert (first.folder, other.folder) == ("p", "p-layout-2")
    assert first.collections == other.collections
    assert first.layout_document == other.layout_document
    data = Path("data")
    assert (Layout(0, 4).data(data), Layout(2, 8).data(data)) == (data, data / "layout-2")
