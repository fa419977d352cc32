"""Where an index has the words of a collection's text fields."""

from typing import Final, NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.fields.word_analysis import WordAnalysis

# The texts of all fields, by weight, for queries that name no field. Fields with an analysis of
# their own have another such field, whose name begins with this.
ALL_TEXT: Final = "_text"


class Searched(NamedTuple):
    """Where the index has the words of some text fields.

    Attributes:
        name: the field of the index.
        analysis: how its words were made.
        fields: the text fields whose words it has.
    """

    name: str
    analysis: WordAnalysis
    fields: tuple[str, ...]

    @property
    def is_joined(self) -> bool:
        """Whether the texts of its fields were joined, each as often as it weighs."""
        return self.name.startswith(ALL_TEXT)


def searched(collection: Collection) -> tuple[Searched, ...]:
    """What a query without a field name searches: for each analysis, one field of the index."""
    groups = collection.text_groups
    is_alone = len(groups) == 1
    found = []
    for analysis, fields in groups:
        first = fields[0]
        # A joined field of a single text field would be a second copy of it. If there is more to
        # search, its weight needs one.
        if len(fields) == 1 and (is_alone or collection.weight_of(first) == 1):
            name = first
        elif analysis == collection.word_analysis:
            name = ALL_TEXT
        else:
            name = f"{ALL_TEXT}_{analysis.suffix}"
        found.append(Searched(name, analysis, fields))
    return tuple(found)


def text_fields(collection: Collection) -> tuple[str, ...]:
    """Every analysed field of the index."""
    joined = (one.name for one in searched(collection) if one.is_joined)
    return (*collection.text_fields, *joined)


def targets_of(collection: Collection, field: str | None) -> tuple[Searched, ...]:
    """Where words of a query are looked for, which name this field, or none."""
    if field is None:
        return searched(collection)
    return (Searched(field, collection.analysis_of(field), (field,)),)
