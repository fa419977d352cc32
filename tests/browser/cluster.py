"""A cluster whose page is looked at: `gateway up` as it comes, in a process of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.support.blocking_up import Cluster, running_cluster

__all__ = [
    "COLLECTION",
    "EMBEDDING",
    "MEANINGS",
    "Cluster",
    "documents",
    "fill",
    "fill_meanings",
    "running_cluster",
    "write_embedding",
]

COLLECTION: Final = "shop"
MEANINGS: Final = "words"  # after the other by name; its texts are embedded
EMBEDDING: Final = "letters_of_texts:embed"
# Whatever comes from a document is text: none of this may become an element or run.
HOSTILE: Final = {
    "id": "hostile<i>",
    "title": "<img src=x onerror=\"window.hurt='title'\"> hostile lamp",
    "text": "</li></ol><script>window.hurt='text'</script> & <b>bold</b> lamp",
    "<b>name</b>": "javascript:alert(1)",
}


def documents(count: int) -> Iterator[dict[str, Any]]:
    """Goods of a shop, the same each time."""
    kinds = ("lamp", "desk", "chair", "shelf", "clock", "mirror", "rug", "vase")
    looks = ("brass", "oak", "walnut", "linen", "marble", "steel", "glass", "wool")
    places = ("reading", "writing", "dining", "garden", "hall", "kitchen", "bedroom")
    for number in range(count):
        kind = kinds[number % len(kinds)]
        look = looks[number // 8 % len(looks)]
        place = places[number // 64 % len(places)]
        yield {
            "id": f"item-{number:05}",
            "title": f"{look.title()} {kind} for the {place} room",
            "text": f"A {kind} of {look}, made by hand. It suits the {place} room, and any {kind} "
            f"beside it. Number {number} of its series.",
            "material": look,
            "price": 10 + number * 7 % 490,
            "in_stock": number % 3 > 0,
            "added": f"202{number % 6}-0{1 + number % 9}-1{number % 10}T00:00:00Z",
        }


def fill(cluster: Cluster, count: int = 400, token: str | None = None) -> None:
    """Load documents, one of which is hostile."""
    with cluster.client(token) as client:
        fields = {
            "title": "text",
            "text": "text",
            "material": "keyword",
            "price": "integer",
            "in_stock": "boolean",
            "added": "date",
        }
        client.put_collection(COLLECTION, fields=fields)
        loaded = client.index(COLLECTION, [*documents(count), HOSTILE], wait="applied")
    assert loaded.rejected_total == 0, loaded.rejected


def write_embedding(folder: Path) -> None:
    """Write the module of `EMBEDDING` where the cluster's processes import it from."""
    source = """
def embed(texts):
    if any("unreadable" in text for text in texts):
        raise ValueError("no vector for this")
    return [[1.0 + text.lower().count(letter) for letter in "abcdefgh"] for text in texts]
"""
    (folder / "letters_of_texts.py").write_text(source, encoding="utf-8")


def fill_meanings(cluster: Cluster) -> None:
    """Load a collection whose documents have vectors that are made of their texts."""
    vector = {"type": "vector", "dimensions": 8, "embed": EMBEDDING, "from": ["title"]}
    titles = ("bad cab", "dead head", "fed beef", "hedge edge", "a hedge", "a cab", "bead", "face")
    with cluster.client() as client:
        client.put_collection(MEANINGS, fields={"title": "text", "kind": "keyword", "v": vector})
        rows = [
            {"id": f"m{number}", "title": title, "kind": title.split()[0]}
            for number, title in enumerate(titles)
        ]
        loaded = client.index(MEANINGS, rows, wait="applied")
    assert loaded.rejected_total == 0, loaded.rejected
