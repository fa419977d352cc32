"""Descriptions of the members of shapes."""

from msgspec import Meta


def doc(text: str) -> Meta:
    """Describe a member, for /openapi.json and the tables of docs/http*.md."""
    return Meta(description=text)
