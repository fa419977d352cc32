"""What a handler takes from the path and the query of a request, by its annotations."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from starlette.responses import Response

from hedgerow.gateway.shapes.faults import checked

Handler = Callable[..., Awaitable[Response]]

_REQUEST: Final = "request"
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


class Parameter(NamedTuple):
    """A parameter.

    Attributes:
        name: its name.
        kind: its type, perhaps with limits (`msgspec.Meta`).
        default: the value if it is not given; `msgspec.NODEFAULT` if it is required.
        is_in_path: whether it is a part of the path, else of the query.
    """

    name: str
    kind: Any
    default: Any
    is_in_path: bool

    def describe(self) -> dict[str, Any]:
        """Describe it as OpenAPI does."""
        bare = _bare(self.kind)
        schema = msgspec.json.schema(self.kind)
        if get_origin(bare) is Literal:
            schema = {"type": "string", "enum": list(get_args(bare))}
        if self.default is not msgspec.NODEFAULT and self.default is not None:
            schema["default"] = self.default
        return {
            "name": self.name,
            "in": "path" if self.is_in_path else "query",
            "required": self.default is msgspec.NODEFAULT,
            "schema": {**schema, "title": self.name.replace("_", " ").title()},
        }

    def read(self, text: str) -> Any:
        """Return a text as a value of the type; as it is, if it is not one."""
        kind = _bare(self.kind)
        try:
            if kind is bool:
                return _BOOLEANS[text.lower()]
            if kind in (int, float) and text.isascii():
                return kind(text)
        except (KeyError, ValueError):
            pass  # the check names the fault
        return text


class Parameters:
    """The parameters of a handler.

    Attributes:
        all: the parameters.
        in_query: the names of those that the query has.
    """

    def __init__(self, handler: Handler, in_path: Collection[str]) -> None:
        """Read the signature of `handler`; `in_path` are the names in its route's path."""
        kinds = get_type_hints(handler, include_extras=True)
        taken = inspect.signature(handler).parameters
        self._takes_request = _REQUEST in taken
        self.all: Sequence[Parameter] = [
            Parameter(name, kinds[name], _default(parameter), name in in_path)
            for name, parameter in taken.items()
            if name != _REQUEST
        ]
        self.in_query = [one.name for one in self.all if not one.is_in_path]
        self._shape = msgspec.defstruct(
            "Parameters", [(name, kind, default) for name, kind, default, _ in self.all]
        )

    def arguments(
        self, request: Any, in_path: Mapping[str, str], in_query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return what the handler is called with.

        Raises:
            BadBodyError: names every parameter that is invalid or missing, with the reason.
        """
        texts = {**in_query, **in_path}
        given = {one.name: one.read(texts[one.name]) for one in self.all if one.name in texts}
        found = msgspec.structs.asdict(checked(self._shape, given)) if self.all else {}
        return {**found, _REQUEST: request} if self._takes_request else found


def _default(parameter: inspect.Parameter) -> Any:
    is_required = parameter.default is inspect.Parameter.empty
    return msgspec.NODEFAULT if is_required else parameter.default


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind
