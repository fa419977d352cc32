"""Rank profiles as a settings file, so that workers know the same ones as a gateway here."""

import json
from collections.abc import Mapping

from hedgerow.common.settings.rank_profiles import RankProfile


def to_toml(profiles: Mapping[str, RankProfile]) -> str:
    """The part of hedgerow.toml that configures these profiles."""
    lines = []
    for name, profile in profiles.items():
        lines.append(f"[rank_profiles.{name}]")
        chosen = profile.model_dump(exclude_defaults=True)
        # JSON's text, numbers and lists of text are TOML's too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in chosen.items()]
    return "\n".join(lines) + "\n"
