"""What a server says when it takes no writes."""

import pytest
from redis import exceptions

from hedgerow.common.redis.refusals import refused_write


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
            "memory",
        ),
        (exceptions.ResponseError("OOM command not allowed, script: on @user_script:1."), "memory"),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left"), "disk"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "read_only"),
        (exceptions.ResponseError("READONLY You can't write against a replica."), "read_only"),
        (
            exceptions.NoPermissionError(
                "User default has no permissions to run the 'xadd' command"
            ),
            "disk",
        ),
        (
            exceptions.ResponseError(
                "ACL failure in script: User default has no permissions to run the 'xadd' command"
            ),
            "disk",
        ),
        (
            exceptions.NoPermissionError("User app has no permissions to run the 'xadd' command"),
            None,
        ),
        (exceptions.NoPermissionError("User default has no permissions to run 'info'"), None),
        (exceptions.ResponseError("ERR OOM is not a command"), None),
        (exceptions.ConnectionError("MISCONF"), None),
    ],
)
def test_a_refusal_is_known_by_what_the_server_says(error: Exception, cause: str | None) -> None:
    """No memory, no disk and read-only are distinguished, from a command's error or a script's."""
    assert refused_write(error) == cause
