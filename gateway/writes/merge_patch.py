"""Changes of a document as JSON Merge Patch has them (https://www.rfc-editor.org/rfc/rfc7396)."""

from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with the changes of `patch`; neither is changed.

    A member of the patch replaces that of the target; null removes it, and an object changes it in
    the same way. Lists are replaced as a whole.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
