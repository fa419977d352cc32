"""docs/configuration.md against common/settings/settings.py.

`python -m tests.tools.test_docs_configuration` writes the tables again after a setting has changed.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from hedgerow.common.settings.access import HostName, Origin, Token
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings, load_settings
from tests.support import doc_blocks

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
BLOCK = "settings"

UNITS = {
    "_bytes_per_s": "bytes/s",  # before the ends that it has
    "_s": "s",
    "_ms": "ms",
    "_bytes": "bytes",
    "_mb": "MB",
    "_chars": "characters",
    "_rate_threshold": "%",
    "_percent": "%",
}
BOUNDS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "min_length": "not empty"}
TYPES: dict[Any, str] = {
    str: "text",
    bool: "`true` or `false`",
    int: "integer",
    float: "number",
    Path: "path",
    SecretStr: "text, secret",
    list[str]: "list of text",
    Token: "text, secret",
    list[HostName]: "list of text",
    list[Origin]: "list of text",
}


def groups() -> Iterator[tuple[str, str, type[BaseModel], dict[str, FieldInfo]]]:
    """Each table's TOML section, prefix of variables, model and fields."""
    own = {
        name: field
        for name, field in Settings.model_fields.items()
        if not is_group(field) and name != "rank_profiles"
    }
    yield "", "HEDGEROW_", Settings, own
    for name, field in Settings.model_fields.items():
        if is_group(field):
            model = field.annotation
            assert isinstance(model, type)
            yield name, f"HEDGEROW_{name.upper()}__", model, model.model_fields
    yield (
        "rank_profiles.NAME",
        "HEDGEROW_RANK_PROFILES__NAME__",
        RankProfile,
        RankProfile.model_fields,
    )


def is_group(field: FieldInfo) -> bool:
    """Whether a setting is a section of its own."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def accepted(field: FieldInfo) -> str:
    """What values a setting takes."""
    kinds = [one for one in get_args(field.annotation) if one is not type(None)]
    if get_origin(field.annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation in TYPES:
        kind = TYPES[field.annotation]
    else:
        (one,) = kinds
        kind = TYPES[one]
    bounds = [
        text.format(getattr(bound, name))
        for bound in field.metadata
        for name, text in BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return ", ".join([kind, *bounds])


def unit_of(name: str) -> str:
    """A setting's unit, as the end of its name says."""
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def default_of(field: FieldInfo) -> str:
    """A setting's default, as TOML would have it."""
    value = field.default
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"


def render() -> str:
    """All tables, as the document must hold them."""
    parts = []
    head = ("setting", "environment", "values", "unit", "default", "meaning")
    for section, prefix, model, fields in groups():
        parts.append(f"### `[{section}]`" if section else "### Top level")
        if section:
            parts.append((model.__doc__ or "").strip().splitlines()[0])
        rows = [
            (
                f"`{name}`",
                f"`{prefix}{name.upper()}`",
                accepted(field),
                unit_of(name),
                default_of(field),
                field.description or "",
            )
            for name, field in fields.items()
        ]
        parts.append(doc_blocks.table(head, rows))
    return "\n\n".join(parts)


def test_tables_are_those_of_the_code() -> None:
    """Each setting stands in the document with its variable, values, unit, default and meaning."""
    found = doc_blocks.blocks(DOCUMENT)
    assert found == {BLOCK: render()}, f"write it again: python -m {__name__}"


def test_every_setting_has_a_meaning() -> None:
    """No setting is without a description."""
    for section, _, _, fields in groups():
        for name, field in fields.items():
            assert field.description, f"{section}.{name} has no description"


def test_durations_and_sizes_name_their_unit() -> None:
    """A setting whose meaning speaks of a time or a size has its unit at the end of its name."""
    for section, _, _, fields in groups():
        for name, field in fields.items():
            if re.search(r"\bin (ms|s|bytes|MB|characters|percent)\b", field.description or ""):
                assert unit_of(name), f"{section}.{name} does not name its unit"


def test_example_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The document's example is a settings file that can be read, and sets what it says."""
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "hedgerow.toml"
    path.write_text(example[1], encoding="utf-8")
    monkeypatch.setenv("HEDGEROW_CONFIG", str(path))
    settings = load_settings().model_dump(mode="json")
    for section, values in tomllib.loads(example[1]).items():
        if section == "rank_profiles":
            assert values.keys() <= settings[section].keys()
        elif isinstance(values, dict):
            assert values.items() <= settings[section].items()
        else:
            assert settings[section] == values


if __name__ == "__main__":
    doc_blocks.write(DOCUMENT, {BLOCK: render()})
