"""Settings: environment `HEDGEROW_*` over `hedgerow.toml` over the defaults of each group.

`HEDGEROW_BREAKER__CONSECUTIVE_FAILURES=3` is `consecutive_failures = 3` under `[breaker]`. Each
group is in a module of its own beside this one. docs/configuration.md has each setting with unit
and default; a test fails when the two differ.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings import environment
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.common.settings.embed import EmbedSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.group import Group
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.metrics import MetricsSettings
from hedgerow.common.settings.placement import PlacementSettings
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.common.settings.tail import (
    AdmissionSettings,
    CoverageSettings,
    HedgingSettings,
    ProbationSettings,
)
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.settings.worker import WorkerSettings


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="HEDGEROW_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # a traceback must not show a password
    )

    data: Path = Field(Path("hedgerow-data"), description="Folder of all stored data.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="Form of a log line.")
    redis: RedisSettings = RedisSettings()
    gateway: GatewaySettings = GatewaySettings()
    worker: WorkerSettings = WorkerSettings()
    query: QuerySettings = QuerySettings()
    embed: EmbedSettings = EmbedSettings()
    breaker: BreakerSettings = BreakerSettings()
    hedging: HedgingSettings = HedgingSettings()
    coverage: CoverageSettings = CoverageSettings()
    probation: ProbationSettings = ProbationSettings()
    admission: AdmissionSettings = AdmissionSettings()
    limits: LimitSettings = LimitSettings()
    storage: StorageSettings = StorageSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    placement: PlacementSettings = PlacementSettings()
    tracing: TracingSettings = TracingSettings()
    metrics: MetricsSettings = MetricsSettings()
    rank_profiles: dict[str, RankProfile] = Field(
        default_factory=dict, description="Profiles in addition to the built-in bm25 and noop."
    )

    @field_validator("rank_profiles")
    @classmethod
    def _with_built_in(cls, value: dict[str, RankProfile]) -> dict[str, RankProfile]:
        for name, profile in value.items():
            if profile.lane == "loop" and (profile.first_phase != "noop" or profile.second_phase):
                raise ValueError(f"{name}: lane loop is for noop without a second phase")
        return {**BUILT_IN_PROFILES, **value}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order: arguments, the environment, the file that HEDGEROW_CONFIG names."""
        path = settings_file()
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, path if path.is_file() else None),
        )


def load_settings(**overrides: object) -> Settings:
    """Read the settings; only entry points call this.

    Raises:
        ConfigurationError: a value is invalid; names the setting and the reason.
    """
    check_environment(os.environ)
    if os.environ.get("HEDGEROW_CONFIG") and not settings_file().is_file():
        raise ConfigurationError(f"HEDGEROW_CONFIG: there is no file {settings_file()}")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_describe, error.errors()))) from error
    except SettingsError as error:  # a variable that should be JSON is not
        unreadable = environment.not_json(os.environ, _json_variables())
        raise ConfigurationError("; ".join(unreadable) or f"environment: {error}") from error
    except (ValueError, OSError) as error:  # the file is not TOML, or cannot be read
        raise ConfigurationError(f"{settings_file()}: {error}") from error


def check_environment(names: Iterable[str]) -> None:
    """Check that no variable of the environment is a misspelt setting.

    Raises:
        ConfigurationError: one is; names it, and the setting that may have been meant.
    """
    free = f"{environment.PREFIX}RANK_PROFILES__"
    # All names are listed only for a message: each process reads its settings, and a list of them
    # takes it 0.4 MB.
    unknown = [name for name in names if not _is_variable(name.upper())]
    if unknown and (found := environment.misspelt(unknown, _variables(), free)):
        raise ConfigurationError("; ".join(found))


def _is_variable(name: str) -> bool:
    """Whether a name in upper case is that of a setting, or of nothing here."""
    if not name.startswith(environment.PREFIX):
        return True
    group, _, member = name.removeprefix(environment.PREFIX).lower().partition("__")
    field = Settings.model_fields.get(group)
    return field is not None and (not member or member in _members(field.annotation))


def _variables() -> list[str]:
    """The variables of all settings, except those of rank profiles."""
    names = []
    for name, field in Settings.model_fields.items():
        variable = f"{environment.PREFIX}{name.upper()}"
        names.append(variable)
        names.extend(f"{variable}__{one.upper()}" for one in _members(field.annotation))
    return names


def _json_variables() -> list[str]:
    """The variables whose values are JSON: those of lists, of tables, and of whole groups."""
    names = []
    for name, field in Settings.model_fields.items():
        variable = f"{environment.PREFIX}{name.upper()}"
        is_group = bool(_members(field.annotation))
        if is_group or _is_json(field.annotation):
            names.append(variable)
        if is_group and field.annotation is not None:
            names.extend(
                f"{variable}__{one.upper()}"
                for one, member in field.annotation.model_fields.items()
                if _is_json(member.annotation)
            )
    return names


def _is_json(kind: Any) -> bool:
    of_union = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return get_origin(kind) in (list, tuple, dict) or any(map(_is_json, of_union))


def _members(kind: Any) -> list[str]:
    """The settings of a group; none for any other type."""
    is_group = isinstance(kind, type) and issubclass(kind, Group)
    return list(kind.model_fields) if is_group else []


def settings_file() -> Path:
    """The path of the settings file, which need not exist."""
    return Path(os.environ.get("HEDGEROW_CONFIG") or "hedgerow.toml")


def _describe(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        *groups, name = (str(part) for part in error["loc"])
        near = environment.nearest(name, _siblings(groups))
        return environment.no_such(where, ".".join([*groups, near]) if near else "")
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _siblings(groups: Sequence[str]) -> list[str]:
    """The settings of a group, or those at the top level."""
    match groups:
        case []:
            return list(Settings.model_fields)
        case ["rank_profiles", _]:
            return list(RankProfile.model_fields)
        case [group]:
            return _members(Settings.model_fields[group].annotation)
    return []
