"""One server in a container, on a port that survives its restarts."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr
from testcontainers.core.container import DockerContainer

from hedgerow.common.settings.redis import RedisSettings
from tests.containers.engine import docker, free_port

PAGE = Path(__file__).parents[2] / "docs" / "redis.md"


def documented_acl(user: str, password: str) -> str:
    """The ACL user that docs/redis.md tells operators to make, with this password."""
    text = PAGE.read_text(encoding="utf-8")
    rule = re.search(r"^user hedgerow .*?$", text, re.MULTILINE)
    assert rule, "docs/redis.md has no line that begins with `user hedgerow`"
    digest = hashlib.sha256(password.encode()).hexdigest()
    return rule[0].replace("user hedgerow", f"user {user}").replace(">PASSWORD", f"#{digest}")


class Server:
    """A running server.

    Attributes:
        name: the container's.
        settings: how to reach it, as a user that has just the documented rights.
    """

    def __init__(self, name: str, settings: RedisSettings) -> None:
        self.name = name
        self.settings = settings

    def kill(self) -> None:
        """End the server by SIGKILL."""
        docker("kill", "--signal", "KILL", self.name)

    def start(self) -> None:
        """Start it again, with its data."""
        docker("start", self.name)


@contextmanager
def running_container(image: str, password: str, key_prefix: str) -> Iterator[Server]:
    """Run a server on which only the user `hedgerow` may do anything, by its password."""
    program = "redis-server" if image.startswith("redis:") else "valkey-server"
    port = free_port()
    acl = documented_acl("hedgerow", password).replace("hedgerow:*", f"{key_prefix}:*")
    container = (
        DockerContainer(image)
        .with_bind_ports(6379, port)
        .with_command(
            [program, "--appendonly", "yes", "--user", "default", "off", *f"--{acl}".split()]
        )
    )
    with container:
        settings = RedisSettings(
            url=f"redis://127.0.0.1:{port}/0",
            username="hedgerow",
            password=SecretStr(password),
            key_prefix=key_prefix,
        )
        yield Server(container.get_container_id(), settings)
