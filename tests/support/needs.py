"""What a ring of tests needs on the machine: without it, it skips, and in CI it fails."""

import os

import pytest


def missing(what: str) -> None:
    """Skip with a reason on a developer's machine; fail where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"NEEDS {what.upper()}")
