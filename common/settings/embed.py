"""The functions that make vectors from texts: `[embed]`."""

from pydantic import Field, field_validator

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt


class EmbedSettings(Group):
    """Functions that turn texts into vectors, and how they are called."""

    functions: list[str] = Field(
        [],
        description="module:function of each function that a vector field may name as its embed. "
        "A field is defined over HTTP, so it must not name any other code.",
    )
    batch: PositiveInt = Field(
        64, le=4096, description="Most texts of one call; also of one call for queries."
    )
    timeout_s: PositiveFloat = Field(
        60.0,
        description="A call that takes longer is ended together with its process, in s. A document "
        "whose text takes so long is tried again, and then set aside.",
    )
    processes: PositiveInt = Field(
        1,
        le=64,
        description="Processes of a gateway that embed the texts of queries. They start with the "
        "gateway if any function is named.",
    )
    max_waiting: PositiveInt = Field(
        256,
        description="Most texts of queries that wait to be embedded in a gateway; one caller has "
        "at most half of them.",
    )
    cached_texts: PositiveInt = Field(
        4096,
        le=1_000_000,
        description="How many of the last texts of queries a gateway knows the vectors of; each "
        "takes 4 bytes for each dimension, and its text.",
    )

    @field_validator("functions")
    @classmethod
    def _name_functions(cls, value: list[str]) -> list[str]:
        for one in value:
            module, colon, function = one.partition(":")
            if not (module and colon and function):
                raise ValueError(f"{one!r} is not written module:function")
        return value
