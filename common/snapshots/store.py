"""The target of snapshots: a folder, or any storage with an fsspec driver.

    URL / KEY_PREFIX / shard-N / ID / store.sqlite
                                    / UID / files of a text index
                                    / manifest.json      written last, deleted first

Source: https://filesystem-spec.readthedocs.io/en/latest/. Everything here blocks.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from hedgerow.common.errors import ConfigurationError, SnapshotError
from hedgerow.common.redis.keys import LAYOUT_MARK
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.snapshots.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileFacts,
    Manifest,
    is_snapshot_id,
    superfluous,
)
from hedgerow.common.snapshots.signature import ManifestSigner

CHUNK_BYTES = 1_048_576
# They have no folders. Creating one would create the bucket, so a mistyped name would get a new
# bucket instead of an error.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"})

_log = structlog.get_logger()


class SnapshotStore:
    """Reads and writes the snapshots of one cluster.

    Every method raises SnapshotError if the target fails or does not answer.

    Attributes:
        place: the cluster's folder on the target, for messages.
    """

    def __init__(self, url: str, key_prefix: str, settings: SnapshotSettings | None = None) -> None:
        """Use the target at `url`; nothing is read or written yet.

        Args:
            url: a folder, or a URL with a protocol that fsspec supports.
            key_prefix: the cluster's, so that clusters can share a target.
            settings: `key` and `max_bytes` are used; the defaults if None.

        Raises:
            ConfigurationError: there is no driver for this URL.
        """
        # Imported here, since most processes do not use snapshots, and it takes memory.
        import fsspec  # noqa: PLC0415
        from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

        try:
            self._fs, root = fsspec.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigurationError(f"snapshots.url: {url}: {error}") from error
        self._root = f"{root.rstrip('/')}/{key_prefix}"
        self._is_local = isinstance(self._fs, LocalFileSystem)
        named = self._fs.protocol
        protocols = {named} if isinstance(named, str) else {*named}
        self._has_folders = protocols.isdisjoint(_OBJECT_STORES)
        self.place = f"{url.rstrip('/')}/{key_prefix}"
        settings = settings or SnapshotSettings()
        key = settings.key.get_secret_value() if settings.key is not None else None
        self._signer = ManifestSigner(key, key_prefix)
        self._max_bytes = settings.max_bytes

    def manifests(self, shard: int) -> Iterator[Manifest]:
        """The complete snapshots of a shard, newest first; those that cannot be read are skipped.

        Raises:
            SnapshotError: the target does not answer.
        """
        for one in sorted(self.complete(shard), reverse=True):
            try:
                yield self.manifest(shard, one)
            except SnapshotError as error:
                _log.error("snapshot_unusable", shard=shard, id=one, reason=str(error))

    def manifest(self, shard: int, snapshot: str) -> Manifest:
        """The manifest of one snapshot.

        Raises:
            SnapshotError: there is no such snapshot, it is incomplete, or it is not signed with
                `snapshots.key`.
        """
        with (
            self._said(f"no complete snapshot {snapshot} of shard {shard} can be read"),
            self._open(self._path(shard, snapshot, MANIFEST)) as reader,
        ):
            manifest = Manifest.from_json(reader.read(MAX_MANIFEST_BYTES + 1))
        self._signer.check(manifest)
        if (manifest.shard, manifest.id) != (shard, snapshot):
            raise SnapshotError(f"the manifest of {snapshot} is that of another snapshot")
        return manifest

    def present(self, shard: int) -> set[str]:
        """The ids of a shard's snapshots, complete or not."""
        with self._said(f"the snapshots of shard {shard} cannot be listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._folder(shard), detail=False)
            except FileNotFoundError:
                return set()
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return {name for name in names if is_snapshot_id(name)}

    def complete(self, shard: int) -> set[str]:
        """The ids of a shard's snapshots that have a manifest."""
        with self._said(f"the snapshots of shard {shard} cannot be listed"):
            self._fs.invalidate_cache()
            found = self._fs.glob(f"{self._folder(shard)}/*/{MANIFEST}")
        names = {str(path).split("/")[-2] for path in found}
        return {name for name in names if is_snapshot_id(name)}

    def shards(self) -> list[int]:
        """The shards that have snapshots, complete or not."""
        with self._said("the snapshots cannot be listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        numbers = [str(path).rstrip("/").rpartition("/shard-")[2] for path in found]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def split_layouts(self) -> list[str]:
        """The folders beside this one for shards into which this cluster's were split, if any.

        A target may show this cluster its own folder only: then there are none.
        """
        parent, _, name = self._root.rpartition("/")
        prefix = f"{name}{LAYOUT_MARK}"
        with suppress(SnapshotError, FileNotFoundError), self._said("the target cannot be listed"):
            self._fs.invalidate_cache()
            names = [
                str(path).rstrip("/").rpartition("/")[2]
                for path in self._fs.ls(parent, detail=False)
            ]
            numbers = [one.removeprefix(prefix) for one in names if one.startswith(prefix)]
            return [
                f"{prefix}{number}" for number in sorted(filter(str.isdecimal, numbers), key=int)
            ]
        return []

    def upload(
        self,
        shard: int,
        snapshot: str,
        files: Mapping[str, Path],
        check: Callable[[], None] = lambda: None,
    ) -> list[FileFacts]:
        """Copy files into a snapshot, which is complete only after `commit`.

        Args:
            shard: the snapshot's shard.
            snapshot: its id.
            files: path in the snapshot → the local file.
            check: called between pieces; an error that it raises ends the upload.

        Returns:
            The manifest's facts about each file.
        """
        facts = []
        for path, source in files.items():
            with self._said(f"{path} of shard {shard} cannot be written to {self.place}"):
                target = self._path(shard, snapshot, path)
                if self._has_folders:
                    self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                digest, size = hashlib.sha256(), 0
                with source.open("rb") as reader, self._fs.open(target, "wb") as writer:
                    while piece := reader.read(CHUNK_BYTES):
                        check()
                        writer.write(piece)
                        digest.update(piece)
                        size += len(piece)
                    self._make_durable(writer)
            facts.append(FileFacts(path, size, digest.hexdigest()))
        return facts

    def commit(self, manifest: Manifest) -> None:
        """Complete a snapshot by writing its signed manifest, the last of its files."""
        target = self._path(manifest.shard, manifest.id, MANIFEST)
        content = self._signer.signed(manifest).to_json()
        if len(content) > MAX_MANIFEST_BYTES:
            raise SnapshotError(
                f"the manifest has {len(content)} bytes; the limit is {MAX_MANIFEST_BYTES}: the "
                "shard has too many collections, or its indexes too many segments"
            )
        with self._said(f"{target} cannot be written"):
            if not self._is_local:
                self._fs.pipe_file(target, content)
                return
            with self._fs.open(f"{target}.new", "wb") as writer:
                writer.write(content)
                self._make_durable(writer)
            Path(f"{target}.new").replace(target)

    def delete(self, shard: int, snapshot: str) -> None:
        """Remove a snapshot; if this is interrupted, the rest no longer counts as a snapshot."""
        with self._said(f"the snapshot {snapshot} of shard {shard} cannot be deleted"):
            manifest = self._path(shard, snapshot, MANIFEST)
            if self._fs.exists(manifest):
                self._fs.rm_file(manifest)
            folder = f"{self._folder(shard)}/{snapshot}"
            if self._fs.exists(folder):
                self._fs.rm(folder, recursive=True)

    def prune(self, shard: int, keep: int, newest: str) -> list[str]:
        """Delete the snapshots that `superfluous` returns; return their ids."""
        gone = superfluous(self.present(shard), self.complete(shard), keep, newest)
        for one in sorted(gone):
            self.delete(shard, one)
        return sorted(gone)

    def fetch(
        self,
        manifest: Manifest,
        folder: Path,
        before_piece: Callable[[int], None] = lambda _num_bytes: None,
    ) -> None:
        """Copy a snapshot's files durably into an empty folder, and compare each with the manifest.

        No more is fetched than the manifest says. `before_piece` is called with the number of bytes
        of each piece before it is written: it may wait, and an error that it raises ends the copy.

        Raises:
            SnapshotError: a file is missing or does not match the manifest, and the folder is
                useless; or the snapshot is larger than `snapshots.max_bytes` or the free disk
                space.
        """
        self._check_room(manifest, folder)
        for path, piece in self._pieces(manifest):
            before_piece(len(piece or b""))
            target = folder / path
            if piece is None:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(b"")
                continue
            with target.open("ab") as writer:
                writer.write(piece)
        for one in manifest.files:
            with (folder / one.path).open("rb") as reader:
                os.fsync(reader.fileno())

    def _check_room(self, manifest: Manifest, folder: Path) -> None:
        what = (
            f"the snapshot {manifest.id} of shard {manifest.shard} has {manifest.num_bytes} bytes"
        )
        if self._max_bytes and manifest.num_bytes > self._max_bytes:
            raise SnapshotError(f"{what}, but snapshots.max_bytes is {self._max_bytes}")
        free = shutil.disk_usage(folder).free
        if manifest.num_bytes > free:
            raise SnapshotError(f"{what}, but {folder} has room for {free}")

    def verify(self, manifest: Manifest) -> None:
        """Read a snapshot's files, and compare each with the manifest.

        Raises:
            SnapshotError: one is missing or does not match the manifest.
        """
        for _ in self._pieces(manifest):
            pass

    def _pieces(self, manifest: Manifest) -> Iterator[tuple[str, bytes | None]]:
        """Every file's path with None, then with each of its pieces; compared at its end."""
        for one in manifest.files:
            yield one.path, None
            digest, left = hashlib.sha256(), one.num_bytes
            path = self._path(manifest.shard, manifest.id, one.path)
            with (
                self._said(f"{one.path} of the snapshot {manifest.id} cannot be read"),
                self._open(path) as reader,
            ):
                # One byte more than expected shows that the file is longer.
                while piece := reader.read(min(CHUNK_BYTES, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        break
                    digest.update(piece)
                    yield one.path, piece
            if left != 0 or digest.hexdigest() != one.sha256:
                raise SnapshotError(
                    f"{one.path} of the snapshot {manifest.id} of shard {manifest.shard} "
                    "is not what its manifest says"
                )

    def _open(self, path: str) -> Any:
        """Open a file of the target for reading; a FIFO is refused, since it would block."""
        if self._is_local and not Path(path).is_file():
            raise FileNotFoundError(f"{path} is not a regular file")
        return self._fs.open(path, "rb")

    def _folder(self, shard: int) -> str:
        return f"{self._root}/shard-{shard}"

    def _path(self, shard: int, snapshot: str, path: str) -> str:
        return f"{self._folder(shard)}/{snapshot}/{path}"

    def _make_durable(self, writer: Any) -> None:
        if self._is_local:
            writer.flush()
            os.fsync(writer.fileno())

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Turn a driver's errors, which may be of any type, into a SnapshotError."""
        try:
            yield
        except (SnapshotError, ConfigurationError):
            raise
        except Exception as error:
            raise SnapshotError(f"{what}: {error or type(error).__name__}") from error
