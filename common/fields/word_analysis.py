"""How texts become words: a collection's way, and that of fields which have a way of their own."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hedgerow.common.errors import BadRequestError

# The stemmers in tantivy (Snowball); "none" only splits and lowercases.
LANGUAGES: Final = frozenset(
    (  # noqa: SIM905 - one name on each line would fill a page
        "arabic armenian basque catalan danish dutch english estonian finnish french german greek "
        "hindi hungarian indonesian irish italian lithuanian nepali norwegian polish portuguese "
        "romanian russian serbian spanish swedish tamil turkish yiddish none"
    ).split()
)

# Documents are always indexed as their collection was defined to be.
PLAIN_TEXTS: Final = 1  # of versions before there was another: split, lowercased, stemmed
TEXTS: Final = 2  # accents are folded, characters of Chinese, say, paired, short whole texts marked
FIELD_TEXTS: Final = 3  # the same, in collections with fields that have an analysis of their own

MIN_NGRAMS: Final = 2
MAX_NGRAMS: Final = 8
MEMBERS: Final = ("language", "folding", "ngrams")  # of a field's definition


class WordAnalysis(NamedTuple):
    """How texts become words.

    Attributes:
        language: of stop words and stemming; "none" for neither.
        texts: `PLAIN_TEXTS` or `TEXTS`.
        folding: whether accents are folded; only with `TEXTS`.
        ngrams: the length of the parts by which each word is indexed; 0 for whole words.
    """

    language: str
    texts: int
    folding: bool
    ngrams: int = 0

    @property
    def is_folded_first(self) -> bool:
        """Whether a text is folded before it is split into words.

        In other languages that is done last, since their stop words and endings have accents.
        """
        return self.folding and self.language in ("english", "none")

    @property
    def suffix(self) -> str:
        """Tells analyses apart in names."""
        words = f"{self.ngrams}grams" if self.ngrams else self.language
        return words if self.folding else f"{words}_unfolded"

    def members(self, base: "WordAnalysis") -> dict[str, Any]:
        """The members of a field's definition, in a collection whose analysis is `base`."""
        found: dict[str, Any] = {}
        if self.ngrams:
            found["ngrams"] = self.ngrams
        elif self.language != base.language:
            found["language"] = self.language
        if self.folding != base.folding:
            found["folding"] = self.folding
        return found


def analysis_of_members(
    name: str, members: Mapping[str, Any], base: WordAnalysis, texts: int
) -> WordAnalysis:
    """Read the members of a field's definition that say how its texts become words.

    Args:
        name: the field's.
        members: those of `MEMBERS` that the definition has.
        base: the collection's analysis.
        texts: what the collection, and every live worker, know (`FIELD_TEXTS` or less).

    Raises:
        BadRequestError: names the member and the reason.
    """
    if base.texts < TEXTS or texts < FIELD_TEXTS:
        raise BadRequestError(
            f"fields.{name}.{next(iter(members))}",
            "needs workers of this version, and a collection that was made by it",
        )
    ngrams = members.get("ngrams", 0)
    if "ngrams" in members and not (type(ngrams) is int and MIN_NGRAMS <= ngrams <= MAX_NGRAMS):
        raise BadRequestError(
            f"fields.{name}.ngrams", f"should be a whole number from {MIN_NGRAMS} to {MAX_NGRAMS}"
        )
    language = members.get("language", "none" if ngrams else base.language)
    if not isinstance(language, str) or language not in LANGUAGES:
        raise BadRequestError(
            f"fields.{name}.language", f"should be one of {', '.join(sorted(LANGUAGES))}"
        )
    if ngrams and language != "none":
        raise BadRequestError(
            f"fields.{name}.language", "does not apply with ngrams: parts of words have no stem"
        )
    folding = members.get("folding", base.folding)
    if not isinstance(folding, bool):
        raise BadRequestError(f"fields.{name}.folding", "should be true or false")
    return WordAnalysis(language, TEXTS, folding, ngrams)
