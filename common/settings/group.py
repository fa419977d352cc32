"""The base class of the groups of settings, and the types of their values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
Percent = Annotated[float, Field(gt=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class Group(BaseModel):
    """A section of the settings file: frozen, and without members that it does not name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,  # times are added and rounded
        hide_input_in_errors=True,  # a traceback must not show a password
    )
