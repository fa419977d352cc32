"""The write path, as far as it goes without a server."""

from unittest.mock import AsyncMock

import pytest

from common.config import LimitSettings
from common.errors import BadRequestError, TooLargeError
from common.log import ShardLog
from gateway.collections import Collections
from gateway.documents import Documents


@pytest.mark.parametrize("document_id", ["", "a" * 513, "é" * 257, "a\0b", "\ud800"])
async def test_deleting_what_no_document_can_be_called_is_refused(document_id: str) -> None:
    """An id that no load would take is at fault, and nothing is logged."""
    log, collections = AsyncMock(spec=ShardLog), AsyncMock(spec=Collections)
    documents = Documents(log, collections, 2, LimitSettings(), write_timeout_s=1.0)
    with pytest.raises(BadRequestError, match=r"^id: ") as refused:
        await documents.delete("books", document_id)
    assert not isinstance(refused.value, TooLargeError)
    log.append_many.assert_not_called()
