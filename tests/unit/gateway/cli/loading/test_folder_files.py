"""What is read of a folder, and what is not, whatever is put into it."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.cli.loading.folder_files import MAX_DEPTH, Entry, FolderFiles
from hedgerow.gateway.cli.loading.sources import Reading, open_source

SECRET = "what only we may read"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder that is not the one that is read, with a file in it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.txt").write_text(SECRET)
    return elsewhere


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is read."""
    made = tmp_path / "notes"
    made.mkdir()
    (made / "a.txt").write_text("a")
    return made


def read(folder: Path, *, follow_links: bool = False) -> dict[str, str]:
    """Name → text of what is a document; name → reason in brackets of what is none."""
    with open_source(str(folder), Reading(follow_links=follow_links)) as source:
        lines = list(source.lines)
        assert source.position() == source.total == len(lines)
    return {
        line.name: f"({line.reason})" if line.reason else json.loads(line.document)["text"]
        for line in lines
    }


def test_a_link_that_leads_out_is_not_read(folder: Path, secret: Path) -> None:
    """Links to a file or a folder elsewhere, however written, are named and passed over."""
    (folder / "deep").mkdir()
    (folder / "b.txt").symlink_to(secret / "secret.txt")
    (folder / "c.txt").symlink_to("../elsewhere/secret.txt")
    (folder / "d").symlink_to(secret)
    (folder / "deep" / "e.txt").symlink_to(folder / "b.txt")
    (folder / "notes-too").symlink_to(folder.parent / "notes-2")
    (folder.parent / "notes-2").mkdir()  # whose name begins with the folder's
    found = read(folder)
    assert found.pop("a.txt") == "a"
    assert set(found) == {"b.txt", "c.txt", "d", "deep/e.txt", "notes-too"}
    assert all("leads out of the folder" in reason for reason in found.values())


def test_a_link_within_the_folder_is_read_and_a_loop_is_not_followed(folder: Path) -> None:
    """A link to a file in the folder is a document too; links to folders and to nothing are not."""
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text("b")
    (folder / "c.txt").symlink_to("deep/b.txt")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "again").symlink_to("deep")
    (folder / "self").symlink_to("self")
    (folder / "gone").symlink_to("nowhere")
    assert read(folder) == {
        "a.txt": "a",
        "c.txt": "b",
        "deep/b.txt": "b",
        "gone": "(is a broken link)",
        "self": "(is a broken link)",
    }


def test_links_are_followed_when_that_is_asked_for(folder: Path, secret: Path) -> None:
    """--follow-links reads what links lead to, and each folder once, loops included."""
    (folder / "b.txt").symlink_to(secret / "secret.txt")
    (folder / "d").symlink_to(secret)
    (folder / "e").symlink_to(secret)
    (secret / "back").symlink_to(folder)
    assert read(folder, follow_links=True) == {
        "a.txt": "a",
        "b.txt": SECRET,
        "d/secret.txt": SECRET,
    }


def test_what_the_user_names_may_be_a_link(tmp_path: Path, folder: Path) -> None:
    """The folder, and a file, that is given on the command line is followed to where it leads."""
    (tmp_path / "link").symlink_to(folder)
    assert read(tmp_path / "link") == {"a.txt": "a"}
    (folder / "lines.jsonl").write_text('{"id": "1"}\n')
    (tmp_path / "lines.jsonl").symlink_to(folder / "lines.jsonl")
    with open_source(str(tmp_path / "lines.jsonl")) as source:
        assert [line.document for line in source.lines] == [b'{"id": "1"}']


@pytest.fixture
def listening(folder: Path) -> Iterator[None]:
    """A socket in the folder."""
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(folder)  # a socket's path must be short
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        yield


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("follow_links", [False, True])
def test_what_is_no_regular_file_is_not_opened(folder: Path, follow_links: bool) -> None:
    """FIFOs, sockets and links to devices are named; none keeps the reading waiting."""
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("fifo")
    (folder / "device").symlink_to("/dev/zero")
    found = read(folder, follow_links=follow_links)
    assert found.pop("a.txt") == "a"
    assert set(found) == {"fifo", "link", "device", "socket"}
    reasons = {found["fifo"], found["link"], found["socket"]}
    assert reasons == {"(is not a regular file)"}


def test_a_source_that_is_a_fifo_is_refused(tmp_path: Path) -> None:
    """A FIFO in the place of a file is refused at once, though no process writes to it."""
    os.mkfifo(tmp_path / "lines.jsonl")
    with (
        pytest.raises(BadRequestError, match="neither a regular file nor a folder"),
        open_source(str(tmp_path / "lines.jsonl")),
    ):
        pass


def test_what_is_swapped_after_it_was_judged_is_not_read(folder: Path, secret: Path) -> None:
    """A file or its folder that becomes a link, or a FIFO, between look and opening is refused."""
    (folder / "deep").mkdir()
    (folder / "deep" / "secret.txt").write_text("harmless")
    with FolderFiles(folder) as files:
        entries = {one.path: one for one in files.entries()}
        (folder / "a.txt").unlink()
        (folder / "a.txt").symlink_to(secret / "secret.txt")
        (folder / "deep").rename(folder / "moved")
        (folder / "deep").symlink_to(secret)
        for one in entries.values():
            with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
                files.open(one)
        (folder / "a.txt").unlink()
        os.mkfifo(folder / "a.txt")
        with pytest.raises(OSError, match="not a regular file"):
            files.open(entries["a.txt"])


def test_no_descriptor_is_left_open(folder: Path, secret: Path) -> None:
    """Neither folders that are listed nor files that are refused keep theirs."""
    for number in range(20):
        (folder / f"f{number}" / "deep").mkdir(parents=True)
        (folder / f"f{number}" / "deep" / "a.txt").write_text("a")
        (folder / f"f{number}" / "link").symlink_to(secret)
    before = sum(1 for _ in Path("/dev/fd").iterdir())
    assert len(read(folder)) == 41
    assert sum(1 for _ in Path("/dev/fd").iterdir()) == before


def test_folders_that_are_too_deep_are_named(folder: Path) -> None:
    """A chain of folders that is deeper than ids can be is left at a bound, without recursion."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 900):  # longer than a path may be
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    try:
        found = read(folder)
    finally:
        remove_deep(folder)
    assert found.pop("a.txt") == "a"
    assert list(found.values()) == [f"(is deeper than {MAX_DEPTH} folders)"]


def remove_deep(folder: Path) -> None:
    """Remove a chain of folders that is deeper than a path can be long."""
    while (folder / "d").exists():
        levels = [folder / "d"]
        while len(levels) < 200 and (levels[-1] / "d").exists():
            levels.append(levels[-1] / "d")
        if len(levels) == 200:
            levels[-1].rename(folder / "rest")
            levels.pop()
        for one in reversed(levels):
            one.rmdir()
        if (folder / "rest").exists():
            (folder / "rest").rename(folder / "d")


def test_a_folder_that_may_not_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder inside that cannot be listed costs itself, and is not passed over in silence."""
    (folder / "locked").mkdir()
    scan = os.scandir
    inode = (folder / "locked").stat().st_ino

    def scandir(descriptor: int) -> object:
        if os.fstat(descriptor).st_ino == inode:
            raise PermissionError(13, "Permission denied")
        return scan(descriptor)

    monkeypatch.setattr(os, "scandir", scandir)
    assert read(folder) == {"a.txt": "a", "locked": "(cannot be read: Permission denied)"}


def test_a_name_that_is_not_utf8_is_no_id(folder: Path) -> None:
    """A file whose name has no form in JSON is rejected, under a name that can be shown."""
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    assert read(folder) == {"a.txt": "a", "caf?.txt": "(has a name that is not UTF-8)"}


def test_entries_come_in_the_order_of_their_names(folder: Path) -> None:
    """A folder's own files come first, then each folder's; links stand among the files."""
    for name in ("b/x.txt", "b.txt", "b-c/y.txt", "c/d/z.txt", "c/d.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "ab").symlink_to("b.txt")
    with FolderFiles(folder) as files:
        assert [*files.entries()] == [
            Entry("a.txt", "a.txt"),
            Entry("ab", "b.txt"),
            Entry("b.txt", "b.txt"),
            *(Entry(one, one) for one in ("b/x.txt", "b-c/y.txt", "c/d.txt", "c/d/z.txt")),
        ]
