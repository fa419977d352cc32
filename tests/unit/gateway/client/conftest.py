"""What the tests of the client share."""

import pytest

from tests.unit.support.either_client import KINDS, EitherClient


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def ask(request: pytest.FixtureRequest) -> EitherClient:
    """Either client of a scripted gateway that has the collection `films`."""
    ask = EitherClient(request.param)
    ask.gateway.collections.defined["films"] = {"fields": {"title": "text"}}
    return ask
