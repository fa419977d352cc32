"""The settings that a page names, as `group.setting`."""

import re

from pydantic import BaseModel

from hedgerow.common.settings.settings import Settings

GROUPS = {
    group: field.annotation.model_fields
    for group, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


def unknown_settings(text: str) -> set[str]:
    """Each `group.setting` of a text whose group there is, and whose setting there is not."""
    named = re.findall(rf"`({'|'.join(GROUPS)})\.(\w+)`", text)
    return {f"{group}.{setting}" for group, setting in named if setting not in GROUPS[group]}
