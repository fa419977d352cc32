"""What a transport does while a slot is on its way, in virtual time."""

import asyncio

from hedgerow.gateway.transport.slot_move import LOOK_S, PATIENCE_S, SlotMove
from tests.support.virtual_time import run_virtually


def test_once_the_new_node_is_reached_all_is_sent_again_once() -> None:
    """However often it is said meanwhile that the slot has moved."""

    async def scenario() -> None:
        loop, told, connected = asyncio.get_running_loop(), list[str](), list[bool]()
        move = SlotMove(
            lambda: bool(connected), lambda: told.append("arrived"), lambda: told.append("lost")
        )
        assert not move.is_under_way
        move.begin()
        move.begin()
        await asyncio.sleep(0.1)
        assert (move.is_under_way, told) == (True, [])
        connected.append(True)
        await asyncio.sleep(2 * LOOK_S)
        assert (move.is_under_way, told) == (False, ["arrived"])
        move.begin()
        await asyncio.sleep(2 * LOOK_S)
        assert told == ["arrived", "arrived"]
        assert loop.time() < PATIENCE_S
        await move.close()

    run_virtually(scenario())


def test_a_node_that_is_not_reached_in_time_is_lost() -> None:
    """Queries learn that before their deadlines, as a rule."""

    async def scenario() -> None:
        told = list[str]()
        move = SlotMove(lambda: False, lambda: told.append("arrived"), lambda: told.append("lost"))
        move.begin()
        await asyncio.sleep(PATIENCE_S - 0.01)
        assert told == []
        await asyncio.sleep(0.02)
        assert (told, move.is_under_way) == (["lost"], False)

    run_virtually(scenario())
