"""The control: no attack at all."""

import asyncio

from tests.hostile.attack import attack
from tests.hostile.target import Target


@attack("nothing, for three seconds: what the machine itself lets a client have")
async def calm(_target: Target) -> list[str]:
    """When this does not hold, the machine is too busy to say anything about the attacks."""
    await asyncio.sleep(3.0)
    return []
