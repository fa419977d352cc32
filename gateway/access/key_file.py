"""The key file, which is read and replaced as a whole."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.access.key import Key, names_of

FILE_NAME: Final = "keys.json"  # in the data folder
VERSION: Final = 1
_MAX_BYTES: Final = 2**20  # some 3,000 keys, which take a few ms to read
_OWNER_ONLY: Final = 0o600


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...]
    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)] = VERSION


def path_of(settings: Settings) -> Path:
    """Return the path of the key file, by the settings."""
    return settings.gateway.keys_file or settings.data / FILE_NAME


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read all keys.

    Raises:
        ConfigurationError: it cannot be read, or is not a key file.
        FileNotFoundError: there is no such file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # Reading a pipe or a device might never end.
            raise ConfigurationError(f"keys file {path}: is not a regular file")
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise ConfigurationError(f"keys file {path}: has more than {_MAX_BYTES} bytes")
        keys = msgspec.json.decode(raw, type=_File).keys
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(f"keys file {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"keys file {path}: {error}") from error
    names = names_of(keys)
    if len(set(names)) != len(names):
        raise ConfigurationError(f"keys file {path}: two keys have the same name")
    return keys


def change_keys(path: Path, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
    """Replace the keys by the result of `change`; a reader sees the old file or the new one.

    A new file is readable only by its owner. An existing one keeps its mode and, as far as this
    user may set them, its owner and group, so that a gateway of another user can still read it.

    Raises:
        ConfigurationError: the file cannot be read or written.
        HedgerowError: what `change` raises.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            keys, about = _present(path)
            _write(path, msgspec.json.encode(_File(change(keys))), about)
    except OSError as error:
        raise ConfigurationError(f"keys file {path}: {error.strerror}") from error


def _present(path: Path) -> tuple[tuple[Key, ...], os.stat_result | None]:
    try:
        return read_keys(path), path.stat()
    except FileNotFoundError:
        return (), None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock out other commands between reading and writing the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)  # makes the rename durable
    finally:
        os.close(descriptor)


def _write(path: Path, raw: bytes, about: os.stat_result | None) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if about is not None:
                for owner, group in ((about.st_uid, -1), (-1, about.st_gid)):
                    with suppress(PermissionError):
                        os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, _OWNER_ONLY if about is None else stat.S_IMODE(about.st_mode))
            file.write(msgspec.json.format(raw) + b"\n")
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
