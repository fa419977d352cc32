"""A conversation with the gateway on one connection, and what must come of it."""

import asyncio
from dataclasses import dataclass

from tests.hostile.oracle import Contract
from tests.hostile.sockets import Answer, MalformedAnswerError
from tests.hostile.target import Target

ANSWER_S = 10.0
_MORE_S = 0.3


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is sent.

    Attributes:
        parts: written one after the other.
        num_answers: how many answers must come; None where the bytes need not be whole requests:
            then the gateway may answer or not, and must close when it hears that no more comes.
    """

    parts: tuple[bytes, ...]
    num_answers: int | None = None

    def __str__(self) -> str:
        """Its beginning, for a report."""
        return repr(b"".join(self.parts)[:300])


async def hold(target: Target, contract: Contract, said: Conversation) -> str:
    """Hold a conversation; returns what is wrong with its outcome, or ""."""
    try:
        async with target.connect() as connection:
            for part in said.parts:
                if not await connection.send(part, ANSWER_S):
                    break
                await asyncio.sleep(0)
            if said.num_answers is not None:
                answers = await connection.answers(said.num_answers, ANSWER_S)
                is_over = connection.is_closed and any(map(_closes, answers))
                if len(answers) < said.num_answers and not is_over:
                    return f"{len(answers)} answers of {said.num_answers}"
            else:
                answers = await connection.answers(1_000, _MORE_S)
                connection.send_end()
                answers += await connection.answers(1_000, ANSWER_S)
                if not connection.is_closed:
                    return "the connection stays open though nothing more can come"
    except MalformedAnswerError as error:
        return f"the answer is no HTTP: {error}"
    except OSError as error:
        return f"no connection: {error}"
    return next(filter(None, map(contract.complaint, answers)), "")


def _closes(answer: Answer) -> bool:
    return answer.headers.get("connection", "").lower() == "close"
