"""What a collection is: its fields and their types, its language, and which documents fit it."""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from hedgerow.common.document_ids import ID_FIELD, MAX_ID_BYTES, document_id
from hedgerow.common.errors import BadRequestError, ConflictError, WireError
from hedgerow.common.fields.embedding import check_sources
from hedgerow.common.fields.field_types import FieldType, mismatch
from hedgerow.common.fields.vectors import VectorField, read_vector_field, stored_form

MAX_FIELDS = 256
MAX_WEIGHT = 10  # of a text field: the joined field holds its words this many times

# The stemmers in tantivy (Snowball); "none" only splits and lowercases.
LANGUAGES = frozenset(
    (  # noqa: SIM905 - one name on each line would fill a page
        "arabic armenian basque catalan danish dutch english estonian finnish french german greek "
        "hindi hungarian indonesian irish italian lithuanian nepali norwegian polish portuguese "
        "romanian russian serbian spanish swedish tamil turkish yiddish none"
    ).split()
)

# How texts become words. Documents are always indexed as their collection was defined to be.
PLAIN_TEXTS = 1  # of versions before there was another: split, lowercased, stemmed
TEXTS = 2  # accents are folded, characters of Chinese, say, paired, short whole texts marked

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,99}\Z")
_NONE: Mapping[str, str] = MappingProxyType({})


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
        texts: how texts become words: `PLAIN_TEXTS` or `TEXTS`.
        folding: whether accents are folded; only with `TEXTS`.
        vectors: vector field → the rest of its definition.
        revision: how often fields were added. While workers fill them, their indexes have only the
            first of the fields.
        text_fields: the fields of type text.
        searched_fields: the text fields in which words without a field name are searched: those
            whose weight is not 0.
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
    text_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    searched_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields = None if self.fields is None else MappingProxyType(dict(self.fields))
        texts = [name for name, kind in (fields or {}).items() if kind is FieldType.TEXT]
        weights = {name: weight for name, weight in self.weights.items() if weight != 1}
        searched = (name for name in texts if weights.get(name, 1))
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "weights", MappingProxyType(weights))
        object.__setattr__(self, "vectors", MappingProxyType(dict(self.vectors)))
        object.__setattr__(self, "text_fields", tuple(texts))
        object.__setattr__(self, "searched_fields", tuple(searched))

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
        return {"weight": self.weights[name]} if name in self.weights else {}

    @property
    def analysis(self) -> object:
        """Everything that decides how documents are indexed: if it differs, the index does too."""
        return self.fields, self.word_analysis, self.weights, self.vectors

    @property
    def word_analysis(self) -> tuple[str, int, bool]:
        """What decides how texts become words: the language, `texts` and `folding`."""
        return self.language, self.texts, self.folding

    def with_fields(
        self,
        fields: Mapping[str, FieldType],
        weights: Mapping[str, int] | None = None,
        inferred: Iterable[str] = (),
        vectors: Mapping[str, VectorField] | None = None,
    ) -> "Collection":
        """The same collection with other fields, and no weights and vectors but these."""
        return replace(
            self,
            fields=fields,
            weights=weights or {},
            inferred=frozenset(inferred),
            vectors=vectors or {},
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
        except BadRequestError as error:
            raise WireError(f"not a definition that this version can read: {error}") from error
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise WireError(f"not a definition that this version can read: {error!r}") from error
        if not all(isinstance(part, str) for part in names.values()):
            raise WireError("a definition's name, uid, rank_profile and language are strings")
        if names["language"] not in LANGUAGES:
            raise WireError(f"this version does not know the language {names['language']!r}")
        if texts not in (PLAIN_TEXTS, TEXTS):
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
        )


def check_name(name: str, field: str = "name") -> None:
    """Make sure that a collection, or an alias of one, can have a name.

    Raises:
        BadRequestError: it cannot; names `field`.
    """
    if not _NAME.match(name):
        raise BadRequestError(
            field, "is letters, digits, '_', '.' and '-', at most 100, a letter or digit first"
        )


def define(
    name: str, body: Mapping[str, Any], uid: str | None = None, texts: int = TEXTS
) -> Collection:
    """Make a definition from a caller's JSON body.

    Args:
        name: the collection's name.
        body: keys `fields`, `rank_profile`, `language`, `folding`, all optional.
        uid: that of the existing collection; None for a new one.
        texts: how its texts become words; an earlier version's way while such workers live.

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
        raise BadRequestError("language", f"is one of {', '.join(sorted(LANGUAGES))}")
    profile = body.get("rank_profile", "bm25")
    if not isinstance(profile, str) or not profile:
        raise BadRequestError("rank_profile", "is the name of a configured profile")
    folding = body.get("folding", texts >= TEXTS)
    if not isinstance(folding, bool):
        raise BadRequestError("folding", "is true or false")
    if folding and texts < TEXTS:
        raise BadRequestError(
            "folding", "is not known to every live worker: upgrade the workers first, then use it"
        )
    defined = body.get("fields")
    fields, weights, vectors = (None, {}, {}) if defined is None else _define_fields(defined)
    _check_sources(fields or {}, vectors)
    return Collection(
        name=name,
        uid=uid or secrets.token_hex(8),
        fields=fields,
        rank_profile=profile,
        language=language,
        weights=weights,
        texts=texts,
        folding=folding,
        vectors=vectors,
    )


def with_added_fields(collection: Collection, fields: Any) -> Collection:
    """Add fields to a definition; those that it has already must be the same.

    Args:
        collection: the definition, with fields.
        fields: as in the body of `define`.

    Raises:
        BadRequestError: a field is invalid, or there are too many.
        ConflictError: a field has another type or weight already.
    """
    there = collection.fields
    if there is None:
        raise ConflictError(
            f'the collection "{collection.name}" has no fields yet; they are inferred from its '
            "first documents"
        )
    added, weights, vectors = _define_fields(fields)
    for name, kind in added.items():
        if name in vectors and collection.vectors.get(name, vectors[name]) != vectors[name]:
            there_is = json.dumps(collection.vectors[name].to_json())
            raise ConflictError(f'the field "{name}" is a vector of {there_is} already')
        weight = weights.get(name, 1)
        if name in there and (there[name], collection.weight_of(name)) != (kind, weight):
            is_other_type = there[name] is not kind
            what = there[name] if is_other_type else f"of weight {collection.weight_of(name)}"
            raise ConflictError(
                f'the field "{name}" is {what} already, and what is indexed by it cannot be '
                "changed; add a field of another name, or load the documents into a new collection"
            )
    if len(there.keys() | added.keys()) > MAX_FIELDS:
        raise BadRequestError("fields", f"would be more than {MAX_FIELDS}, which is the limit")
    if there.keys() >= added.keys():
        return collection
    _check_sources({**there, **added}, vectors)
    wider = collection.with_fields(
        {**there, **added},
        {**collection.weights, **weights},
        collection.inferred,
        {**collection.vectors, **vectors},
    )
    return replace(wider, revision=collection.revision + 1)


def _define_fields(
    fields: Any,
) -> tuple[dict[str, FieldType], dict[str, int], dict[str, VectorField]]:
    """The types of fields, the weights that are given, and what the vectors are."""
    if not isinstance(fields, Mapping):
        raise BadRequestError("fields", "is an object of field names and types")
    if len(fields) > MAX_FIELDS:
        raise BadRequestError("fields", f"has {len(fields)} fields; {MAX_FIELDS} is the limit")
    defined, weights, vectors = {}, {}, {}
    for name, one in fields.items():
        if is_vector := _type_of(one) == FieldType.VECTOR:
            vectors[name] = read_vector_field(name, one if isinstance(one, Mapping) else {})
        kind, weight = (FieldType.VECTOR, None) if is_vector else _type_and_weight(name, one)
        if not isinstance(kind, str) or kind not in set(FieldType):
            raise BadRequestError(f"fields.{name}", f"has a type of {', '.join(FieldType)}")
        if name == ID_FIELD:
            if kind != FieldType.KEYWORD:
                raise BadRequestError("fields.id", "is always a keyword")
            continue
        if not FIELD_NAME.match(name):
            raise BadRequestError(
                f"fields.{name}", "is letters, digits, '_' and '.', at most 100, a letter first"
            )
        defined[name] = FieldType(kind)
        if weight is not None:
            weights[name] = _checked_weight(name, defined[name], weight)
    return defined, weights, vectors


def _check_sources(
    fields: Mapping[str, FieldType], vectors: Mapping[str, VectorField]
) -> None:
    for name, vector in vectors.items():
        if vector.embedding is not None:
            check_sources(name, vector.embedding, fields)


def _type_of(one: Any) -> Any:
    return one.get("type") if isinstance(one, Mapping) else one


def _type_and_weight(name: str, one: Any) -> tuple[Any, Any]:
    """A field's type and weight; it is defined by its type, or an object of both."""
    if not isinstance(one, Mapping):
        return one, None
    for key in one:
        if key not in {"type", "weight"}:
            raise BadRequestError(f"fields.{name}.{key}", "is unknown; a field has type and weight")
    return one.get("type"), one.get("weight")


def _checked_weight(name: str, kind: FieldType, weight: Any) -> int:
    if kind is not FieldType.TEXT:
        raise BadRequestError(f"fields.{name}.weight", f"is for text fields; this is a {kind}")
    if type(weight) is not int or not 0 <= weight <= MAX_WEIGHT:  # True is an int too
        raise BadRequestError(f"fields.{name}.weight", f"is a whole number from 0 to {MAX_WEIGHT}")
    return weight


def check_document(
    collection: Collection,
    document: Any,
    id_field: str = ID_FIELD,
    max_id_bytes: int = MAX_ID_BYTES,
) -> Mapping[str, str]:
    """Refuse a document that does not fit its collection.

    Fields that are not declared may hold any value: they are stored, but not indexed. A declared
    field may be absent or null.

    Returns:
        Field → why its value cannot be indexed, for the fields whose type was inferred.

    Raises:
        BadRequestError: names the field and the reason.
    """
    if not isinstance(document, dict):
        raise BadRequestError("document", "is a JSON object")
    document_id(document, id_field, max_id_bytes)
    misfits: dict[str, str] | None = None
    for name, kind in (collection.fields or {}).items():
        value = document.get(name)
        if value is not None and (reason := mismatch(kind, value)):
            if name not in collection.inferred:
                raise BadRequestError(name, reason)
            misfits = misfits or {}
            misfits[name] = reason
    for name, vector in collection.vectors.items():
        if (value := document.get(name)) is not None:
            try:
                vector.pack(value)
            except ValueError as error:
                raise BadRequestError(name, str(error)) from None
    return _NONE if misfits is None else misfits


def with_stored_vectors(collection: Collection, document: dict[str, Any]) -> bool:
    """Put the vectors of a document that fits its collection into the form that is stored.

    Returns:
        Whether that has changed the document.
    """
    has_changed = False
    for name, vector in collection.vectors.items():
        if (value := document.get(name)) is not None:
            document[name] = stored_form(vector.pack(value))
            has_changed |= document[name] != value
    return has_changed
