"""The requests with curl on the pages of the HTTP interface, against a cluster."""

import itertools
from pathlib import Path

import pytest

from tests.support.pages import blocks_of, http_pages
from tests.tools.support.reader import Reader

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


async def test_every_request_on_the_pages_does_what_it_says(tmp_path: Path) -> None:
    """Each command succeeds, the pages read in order, and prints what stands below it."""
    blocks = list(itertools.chain.from_iterable(blocks_of(page.name) for page in http_pages()))
    followed = [block for block in blocks if block.language in {"sh", "text"}]
    assert len(followed) > 10
    (tmp_path / ".curlrc").write_text("silent\nfail-with-body\n")  # a problem is a failure
    reader = Reader(tmp_path, CURL_HOME=str(tmp_path))
    try:
        await reader.follow_all(followed)
    finally:
        if reader.up is not None:
            await reader.up.destroy()
