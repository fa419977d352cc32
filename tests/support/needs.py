"""What a ring of tests needs of the machine: without it, it skips loudly, and fails in CI."""

import os

import pytest


def missing(what: str) -> None:
    """Skip loudly at the desk; fail where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"NEEDS {what.upper()}")
