"""Errors as text that can be packed: what users' code raises may say anything."""

import traceback

from hedgerow.common.errors import HedgerowError


def packable(text: str) -> str:
    """The text with what UTF-8, and so MessagePack, cannot say (half surrogate pairs) escaped."""
    return text.encode(errors="backslashreplace").decode()


def error_line(error: BaseException) -> str:
    """One line for the caller: our own errors in their words, others with their type's name."""
    if isinstance(error, HedgerowError):
        return packable(str(error))
    return packable(" ".join(traceback.format_exception_only(error)[-1].split()))
