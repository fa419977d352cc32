"""What a collection is: its fields and their types, and its language. Makes and extends them."""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import BadRequestError, ConflictError, WireError
from hedgerow.common.fields.field_definitions import (
    MAX_FIELDS,
    DefinedFields,
    check_embeddings,
    define_fields,
)
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.vectors import VectorField, read_vector_field
from hedgerow.common.fields.word_analysis import (
    FIELD_TEXTS,
    LANGUAGES,
    PLAIN_TEXTS,
    TEXTS,
    WordAnalysis,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")


class TextGroup(NamedTuple):
    """Text fields that are searched together, since their texts become words in the same way."""

    analysis: WordAnalysis
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """A collection's definition.

    Attributes:
        name: what callers call it.
        uid: never used again: a collection that is dropped and created again gets another.
        fields: declared fields; None until they are inferred from the first documents. Every
            collection also has the field `id`, a keyword, which is not among them.
        rank_profile: the profile of a query that names none.
        language: the language of stop words and stemming; "none" for neither.
        weights: text field → how many times its words count, for the fields whose weight is not 1.
        inferred: the fields whose type was inferred. A value that does not fit such a type is
            stored but not indexed, since the inference may have been wrong.
        texts: how texts become words: `PLAIN_TEXTS`, `TEXTS` or `FIELD_TEXTS`.
        folding: whether accents are folded; not with `PLAIN_TEXTS`.
        vectors: vector field → the rest of its definition.
        analyses: text field → how its texts become words, where that is not as in the others; only
            with `FIELD_TEXTS`.
        revision: how often fields were added. While workers fill them, their indexes have only the
            first of the fields.
        text_fields: the fields of type text.
        searched_fields: the text fields in which words without a field name are searched: those
            whose weight is not 0.
        float_fields: the fields of type float.
        text_groups: the same by their analysis, in the order of the first field of each.
    """

    name: str
    uid: str
    fields: Mapping[str, FieldType] | None = None
    rank_profile: str = "bm25"
    language: str = "english"
    weights: Mapping[str, int] = field(default_factory=dict)
    inferred: frozenset[str] = frozenset()
    revision: int = 0
    texts: int = PLAIN_TEXTS
    folding: bool = False
    vectors: Mapping[str, VectorField] = field(default_factory=dict)
    analyses: Mapping[str, WordAnalysis] = field(default_factory=dict)
    text_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    searched_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    float_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    text_groups: tuple[TextGroup, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields = None if self.fields is None else MappingProxyType(dict(self.fields))
        texts = [name for name, kind in (fields or {}).items() if kind is FieldType.TEXT]
        floats = [name for name, kind in (fields or {}).items() if kind is FieldType.FLOAT]
        weights = {name: weight for name, weight in self.weights.items() if weight != 1}
        searched = [name for name in texts if weights.get(name, 1)]
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "weights", MappingProxyType(weights))
        object.__setattr__(self, "vectors", MappingProxyType(dict(self.vectors)))
        object.__setattr__(self, "text_fields", tuple(texts))
        object.__setattr__(self, "searched_fields", tuple(searched))
        object.__setattr__(self, "float_fields", tuple(floats))
        object.__setattr__(self, "analyses", MappingProxyType(dict(self.analyses)))
        groups: dict[WordAnalysis, list[str]] = {}
        for name in searched:
            groups.setdefault(self.analysis_of(name), []).append(name)
        text_groups = (TextGroup(analysis, tuple(names)) for analysis, names in groups.items())
        object.__setattr__(self, "text_groups", tuple(text_groups))

    def type_of(self, name: str) -> FieldType | None:
        """The type of a field that can be searched; None for one that is not declared."""
        if name == ID_FIELD:
            return FieldType.KEYWORD
        return None if self.fields is None else self.fields.get(name)

    def weight_of(self, name: str) -> int:
        """The weight of a text field."""
        return self.weights.get(name, 1)

    @property
    def defined_fields(self) -> dict[str, Any] | None:
        """The fields as `define` takes them; None until they are inferred."""
        if self.fields is None:
            return None
        return {
            name: {"type": kind, **members} if (members := self._members_of(name)) else kind
            for name, kind in self.fields.items()
        }

    def _members_of(self, name: str) -> dict[str, Any]:
        """The members of a field's definition but its type."""
        if name in self.vectors:
            return self.vectors[name].to_json()
        members: dict[str, Any] = {}
        if name in self.weights:
            members["weight"] = self.weights[name]
        if name in self.analyses:
            members |= self.analyses[name].members(self.word_analysis)
        return members

    @property
    def analysis(self) -> object:
        """Everything that decides how documents are indexed: if it differs, the index does too."""
        return self.fields, self.word_analysis, self.weights, self.vectors, self.analyses

    @property
    def word_analysis(self) -> WordAnalysis:
        """How texts become words, except those of fields with an analysis of their own."""
        return WordAnalysis(self.language, min(self.texts, TEXTS), self.folding)

    def analysis_of(self, name: str) -> WordAnalysis:
        """How the texts of a text field become words."""
        return self.analyses.get(name) or self.word_analysis

    def with_fields(
        self,
        fields: Mapping[str, FieldType],
        weights: Mapping[str, int] | None = None,
        inferred: Iterable[str] = (),
        vectors: Mapping[str, VectorField] | None = None,
        analyses: Mapping[str, WordAnalysis] | None = None,
    ) -> "Collection":
        """The same collection with other fields, and no weights, vectors and analyses but these."""
        return replace(
            self,
            fields=fields,
            weights=weights or {},
            inferred=frozenset(inferred),
            vectors=vectors or {},
            texts=_texts_with(analyses or {}, self.texts),
            analyses=analyses or {},
        )

    def with_fields_of(self, other: "Collection") -> "Collection":
        """The same collection with the fields of another definition, and what belongs to them."""
        return replace(
            self,
            fields=other.fields,
            weights=other.weights,
            inferred=other.inferred,
            revision=other.revision,
            vectors=other.vectors,
            texts=_texts_with(other.analyses, self.texts),
            analyses=other.analyses,
        )

    def extends(self, other: "Collection") -> bool:
        """Whether documents are indexed as by the other definition, but for fields it lacks."""
        if self.fields is None or other.fields is None:
            return self.analysis == other.analysis
        return (
            self.word_analysis == other.word_analysis
            and self.fields.items() >= other.fields.items()
            and all(self.weight_of(name) == other.weight_of(name) for name in other.fields)
            and self.vectors.items() >= other.vectors.items()
            and all(self.analyses.get(name) == other.analyses.get(name) for name in other.fields)
        )

    def to_json(self) -> str:
        """The definition as JSON, equal for equal definitions."""
        definition: dict[str, Any] = {
            "name": self.name,
            "uid": self.uid,
            "fields": None if self.fields is None else dict(self.fields),
            "rank_profile": self.rank_profile,
            "language": self.language,
        }
        if self.weights:  # without them, the definition is as in earlier versions
            definition["weights"] = dict(sorted(self.weights.items()))
        if self.inferred:  # likewise
            definition["inferred"] = sorted(self.inferred)
        if self.revision:
            definition["revision"] = self.revision
        if self.texts != PLAIN_TEXTS:
            definition["texts"] = self.texts
            definition["folding"] = self.folding
        if self.vectors:
            definition["vectors"] = {name: one.to_json() for name, one in self.vectors.items()}
        if self.analyses:
            definition["analyses"] = {
                name: {"language": one.language, "folding": one.folding, "ngrams": one.ngrams}
                for name, one in sorted(self.analyses.items())
            }
        return json.dumps(definition, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Collection":
        """Read what `to_json` wrote; members that a newer version added are ignored.

        Raises:
            WireError: it is malformed, or has a field of a type that this version does not know.
        """
        try:
            read = json.loads(text)
            fields = read["fields"]
            names = {key: read[key] for key in ("name", "uid", "rank_profile", "language")}
            kinds = None if fields is None else {k: FieldType(v) for k, v in fields.items()}
            weights = {str(name): int(one) for name, one in read.get("weights", {}).items()}
            inferred = frozenset(map(str, read.get("inferred", ())))
            revision = int(read.get("revision", 0))
            texts = int(read.get("texts", PLAIN_TEXTS))
            folding = bool(read.get("folding", False))
            vectors = {
                str(name): read_vector_field(name, one)
                for name, one in read.get("vectors", {}).items()
            }
            analyses = {
                str(name): WordAnalysis(
                    str(one["language"]), TEXTS, bool(one["folding"]), int(one["ngrams"])
                )
                for name, one in read.get("analyses", {}).items()
            }
        except BadRequestError as error:
            raise WireError(f"not a definition that this version can read: {error}") from error
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise WireError(f"not a definition that this version can read: {error!r}") from error
        if not all(isinstance(part, str) for part in names.values()):
            raise WireError("a definition's name, uid, rank_profile and language are strings")
        for language in (names["language"], *(one.language for one in analyses.values())):
            if language not in LANGUAGES:
                raise WireError(f"this version does not know the language {language!r}")
        if texts not in (PLAIN_TEXTS, TEXTS, FIELD_TEXTS):
            raise WireError(f"this version does not know texts of version {texts}")
        return cls(
            **names,
            fields=kinds,
            weights=weights,
            inferred=inferred,
            revision=revision,
            texts=texts,
            folding=folding,
            vectors=vectors,
            analyses=analyses,
        )


def _texts_with(analyses: Mapping[str, WordAnalysis], texts: int) -> int:
    """The `Collection.texts` of a collection whose fields have these analyses of their own."""
    return FIELD_TEXTS if analyses else min(texts, TEXTS)


def check_name(name: str, field: str = "name") -> None:
    """Make sure that a collection, or an alias of one, can have a name.

    Raises:
        BadRequestError: it cannot; names `field`.
    """
    if not _NAME.match(name):
        raise BadRequestError(
            field,
            "should be letters, digits, '_', '.' and '-', at most 100, a letter or digit first",
        )


def define(
    name: str, body: Mapping[str, Any], uid: str | None = None, texts: int = FIELD_TEXTS
) -> Collection:
    """Make a definition from a caller's JSON body.

    Args:
        name: the collection's name.
        body: keys `fields`, `rank_profile`, `language`, `folding`, all optional.
        uid: that of the existing collection; None for a new one.
        texts: the latest `Collection.texts` that it may have: what every live worker knows.

    Raises:
        BadRequestError: names the offending key and the reason.
    """
    check_name(name)
    for key in body:
        if key not in {"fields", "rank_profile", "language", "folding"}:
            raise BadRequestError(
                key, "is unknown; a collection has fields, rank_profile, language, folding"
            )
    language = body.get("language", "english")
    if not isinstance(language, str) or language not in LANGUAGES:
        raise BadRequestError("language", f"should be one of {', '.join(sorted(LANGUAGES))}")
    profile = body.get("rank_profile", "bm25")
    if not isinstance(profile, str) or not profile:
        raise BadRequestError("rank_profile", "is the name of a configured profile")
    folding = body.get("folding", texts >= TEXTS)
    if not isinstance(folding, bool):
        raise BadRequestError("folding", "should be true or false")
    if folding and texts < TEXTS:
        raise BadRequestError(
            "folding", "is not known to every live worker: upgrade the workers first, then use it"
        )
    base = WordAnalysis(language, min(texts, TEXTS), folding)
    defined = body.get("fields")
    fields = DefinedFields() if defined is None else define_fields(defined, base, texts)
    check_embeddings(fields.types, fields.vectors)
    return Collection(
        name=name,
        uid=uid or secrets.token_hex(8),
        fields=None if defined is None else fields.types,
        rank_profile=profile,
        language=language,
        weights=fields.weights,
        texts=_texts_with(fields.analyses, texts),
        folding=folding,
        vectors=fields.vectors,
        analyses=fields.analyses,
    )


def with_added_fields(collection: Collection, fields: Any, texts: int = FIELD_TEXTS) -> Collection:
    """Add fields to a definition; those that it has already must be the same.

    Args:
        collection: the definition, with fields.
        fields: as in the body of `define`.
        texts: as for `define`.

    Raises:
        BadRequestError: a field is invalid, or there are too many.
        ConflictError: a field has another type, weight or analysis already.
    """
    there = collection.fields
    if there is None:
        raise ConflictError(
            f'the collection "{collection.name}" has no fields yet; they are inferred from its '
            "first documents"
        )
    added = define_fields(fields, collection.word_analysis, texts)
    for name, kind in added.types.items():
        if name in there and (is_now := _difference(collection, name, kind, added)):
            raise ConflictError(
                f'the field "{name}" is {is_now} already, and what is indexed by it cannot be '
                "changed; add a field of another name, or copy the documents into a new collection "
                "(gateway reindex)"
            )
    if len(there.keys() | added.types.keys()) > MAX_FIELDS:
        raise BadRequestError("fields", f"would be more than {MAX_FIELDS}, which is the limit")
    if there.keys() >= added.types.keys():
        return collection
    check_embeddings({**there, **added.types}, added.vectors)
    wider = collection.with_fields(
        {**there, **added.types},
        {**collection.weights, **added.weights},
        collection.inferred,
        {**collection.vectors, **added.vectors},
        {**collection.analyses, **added.analyses},
    )
    return replace(wider, revision=collection.revision + 1)


def _difference(collection: Collection, name: str, kind: FieldType, added: DefinedFields) -> str:
    """What a field is, if it is to be something else; otherwise ""."""
    there = (collection.fields or {})[name]
    if there is not kind:
        return there
    if collection.weight_of(name) != added.weights.get(name, 1):
        return f"of weight {collection.weight_of(name)}"
    if (vector := collection.vectors.get(name)) != added.vectors.get(name) and vector is not None:
        return f"a vector of {json.dumps(vector.to_json())}"
    analysis = collection.analyses.get(name)
    if analysis == added.analyses.get(name):
        return ""
    members = (analysis or collection.word_analysis).members(WordAnalysis("", TEXTS, folding=False))
    return f"analysed with {json.dumps(members)}"
