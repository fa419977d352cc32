"""Reads the sample file, which contains the arguments of calls.

It is NDJSON, one call per line: a list has the positional arguments, an object the keyword
arguments. For a hook, each line is a document, an object. For values that JSON cannot represent, a
file that ends in `.py` defines `samples`: an iterable of the same lists (or tuples) and dicts, or a
function without arguments that returns one.
"""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hedgerow.common.errors import BadRequestError
from hedgerow.common.user_function import last_line

OPTION: Final = "--sample"
_JSON_NAMES: Final = {
    str: "a string",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One call's arguments, or one document.

    Attributes:
        where: its place in the file, for messages.
        value: a list of positional or a dict of keyword arguments; a dict for a document.
    """

    where: str
    value: list[Any] | dict[str, Any]


def read_samples(path: Path) -> list[Sample]:
    """Read a sample file; one that ends in `.py` is run.

    Raises:
        BadRequestError: it cannot be read, or is invalid; names the line.
    """
    found = _from_python(path) if path.suffix == ".py" else _from_lines(path)
    if not found:
        raise BadRequestError(OPTION, f"{path} holds no samples")
    return found


def _from_lines(path: Path) -> list[Sample]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadRequestError(OPTION, f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRequestError(OPTION, f"{path} is not UTF-8: {error}") from error
    # Not splitlines(), which splits at characters that JSON strings may contain.
    lines = enumerate(text.split("\n"), 1)
    return [_from_line(f"line {number}", line) for number, line in lines if line.strip()]


def _from_line(where: str, line: str) -> Sample:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadRequestError(OPTION, f"{where}: not JSON: {error}") from error
    except RecursionError as error:
        raise BadRequestError(OPTION, f"{where}: nested too deeply") from error
    if not isinstance(value, list | dict):
        kind = _JSON_NAMES[type(value)]
        raise BadRequestError(OPTION, f"{where}: {_expected()}, not {kind}")
    return Sample(where, value)


def _from_python(path: Path) -> list[Sample]:
    if not path.is_file():
        raise BadRequestError(OPTION, f"{path}: there is no such file")
    try:
        made = runpy.run_path(str(path), run_name="samples").get("samples")
        if made is None:
            raise BadRequestError(OPTION, f"{path} defines no `samples`")  # noqa: TRY301
        values = list(made() if callable(made) else made)
    except BadRequestError:
        raise
    except Exception as error:
        # The user's code can raise anything.
        raise BadRequestError(OPTION, f"{path} raised {last_line(error)}") from error
    samples = []
    for number, value in enumerate(values, 1):
        where = f"sample {number}"
        if isinstance(value, tuple):
            samples.append(Sample(where, list(value)))
        elif isinstance(value, list | dict):
            samples.append(Sample(where, value))
        else:
            kind = type(value).__name__
            raise BadRequestError(OPTION, f"{where}: {_expected()}, not {kind}")
    return samples


def _expected() -> str:
    return "a sample is a list of positional arguments, or an object of keyword arguments"
