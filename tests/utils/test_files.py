"""Files that are written whole: where they can be written, and what is never replaced."""

import os
import socket
import stat
from pathlib import Path

import pytest

from scalebayes.utils.files import check_folder, check_target, printable, write_whole


def write(path, text="new"):
    write_whole(path, lambda temporary: temporary.write_text(text))


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to(path.with_name("nowhere"))


def loop(path):
    path.symlink_to(path)


def read_only(path):
    path.write_text("old")
    path.chmod(0o444)


def link_to_read_only(path):
    read_only(path.with_name("target"))
    path.symlink_to(path.with_name("target"))


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def link_to_device(path):
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (folder, "it is a folder"),
        (dangling, "it is a link to a file that does not exist"),
        (loop, "Too many levels of symbolic links"),
        (read_only, "the file is read-only"),
        (link_to_read_only, "the file is read-only"),
        (os.mkfifo, "it is a pipe"),
        (unix_socket, "it is a socket"),
        (link_to_device, "it is a device"),
    ],
)
def test_what_is_no_writable_file_is_never_replaced(tmp_path, monkeypatch, make, says):
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    path = Path("there")
    make(path)
    before = os.lstat(path)
    with pytest.raises(OSError) as error:  # noqa: PT011 - the message is compared below
        write(path)
    assert error.value.strerror == says
    assert os.lstat(path).st_ino == before.st_ino
    assert stat.S_IFMT(os.lstat(path).st_mode) == stat.S_IFMT(before.st_mode)


def test_a_device_stays_a_device():
    with pytest.raises(OSError, match="it is a device"):
        write(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_is_followed_and_its_target_replaced(tmp_path):
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(path.name for path in target.parent.iterdir()) == ["target"]


def test_a_long_name_is_written_and_one_that_is_too_long_refused_before(tmp_path):
    longest = tmp_path / ("n" * 255)
    write(longest)
    assert longest.read_text() == "new"
    with pytest.raises(OSError, match="File name too long"):
        check_target(tmp_path / ("n" * 256))


def test_a_folder_in_which_no_file_can_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"/file is not a folder"):
            check_folder(wrong)
    with pytest.raises(OSError, match="no file can be made in /proc"):
        check_folder(Path("/proc/new"))
    with pytest.raises(OSError, match="no file can be made in /proc"):
        check_target(Path("/proc/new"))
    with pytest.raises(OSError, match="no such folder"):
        check_target(tmp_path / "none" / "file")
    check_folder(tmp_path / "new" / "below")
    check_target(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # checks leave nothing


def test_what_has_no_encoding_is_replaced():
    assert printable(os.fsdecode(b"caf\xe9, caf\xc3\xa9")) == "caf\N{REPLACEMENT CHARACTER}, café"


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    target = tmp_path / "text"
    target.write_text("before")
    target.chmod(0o640)
    write_whole(target, lambda temporary: temporary.write_text("after"))
    assert target.read_text() == "after"
    assert target.stat().st_mode & 0o777 == 0o640
