"""The store on disks that are full, fail or refuse: nothing earlier is lost."""

from collections.abc import Callable, Iterator
import errno
import fcntl
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from lalm import store
from tests.oracles import record_writer

ROOT = Path(__file__).resolve().parent.parent


def _filled(path: Path, count: int) -> list[dict[str, Any]]:
  records = [record_writer.record(i) for i in range(count)]
  for record in records:
    store.append(path, record)
  return records


def _mounted(folder: Path, kind: str) -> None:
  """Mounts a small disk on the folder, or skips and says why not."""
  folder.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", "size=64k", "lalm", str(folder)]
  try:
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False
    )
  except OSError as error:
    pytest.skip(f"no {kind} to test on: mount cannot be run: {error}")
  if answer.returncode:
    pytest.skip(f"no {kind} to test on: {answer.stderr.strip()}")


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Path]:
  folder = tmp_path / "disk"
  _mounted(folder, "small disk")
  yield folder
  subprocess.run(["umount", str(folder)], check=True)


def _append_until_refused(path: Path) -> tuple[list[dict[str, Any]], str]:
  records: list[dict[str, Any]] = []
  for index in range(1000):
    before = path.read_bytes() if path.exists() else b""
    try:
      store.append(path, record_writer.record(index))
    except store.StoreError as error:
      assert path.read_bytes() == before
      return records, str(error)
    records.append(record_writer.record(index))
  raise AssertionError("the disk never filled")


def test_a_full_disk_keeps_what_it_holds_and_goes_on_when_freed(
    disk: Path,
) -> None:
  (disk / "ballast").write_bytes(bytes(30_000))
  path = disk / "cpu" / "records.jsonl"
  records, text = _append_until_refused(path)
  assert text.startswith(f"{path}: cannot append: disk full")
  assert len(records) > 3 and store.load(path) == (records, [])
  table = disk / "fits.json"
  with pytest.raises(store.StoreError, match="fits.json: cannot write: disk"):
    store.replace(table, "x" * 50_000)
  assert sorted(os.listdir(disk)) == ["ballast", "cpu"]
  (disk / "ballast").unlink()
  store.append(path, record_writer.record(len(records)))
  assert store.load(path).records[:-1] == records
  assert store.load(path).damage == []


def test_a_read_only_disk_is_named_and_still_read(disk: Path) -> None:
  path = disk / "records.jsonl"
  records = _filled(path, 3)
  remount = ["mount", "-o", "remount,ro", str(disk)]
  subprocess.run(remount, check=True)
  text = "read-only file system"
  for act in (
      lambda p: store.append(p, {"a": 1}),
      lambda p: store.replace(p, "x"),
      lambda p: store.append(p.parent / "new" / p.name, {"a": 1}),
  ):
    with pytest.raises(store.StoreError, match=f"{disk}.*: {text}$"):
      act(path)
  assert store.load(path) == (records, [])
  subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
  store.append(path, {"a": 1})
  assert store.load(path) == ([*records, {"a": 1}], [])


def test_a_folder_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "records.jsonl"
  records = _filled(path, 2)
  opened = os.open

  def refuse(name: Any, flags: int, *rest: Any) -> int:
    # Permissions do not bind root, so the system's answer is put in its place.
    if flags & (os.O_WRONLY | os.O_RDWR):
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    return opened(name, flags, *rest)

  monkeypatch.setattr(os, "open", refuse)
  with pytest.raises(store.StoreError) as caught:
    store.append(path, {"a": 1})
  assert str(caught.value) == f"{path}: cannot append: permission denied"
  assert caught.value.errno == errno.EACCES
  assert store.load(path) == (records, [])
  monkeypatch.undo()
  store.append(path, {"a": 1})
  assert len(store.load(path).records) == 3


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
  file = tmp_path / "file"
  file.write_text("")
  cases: list[tuple[Callable[[], Any], Path, str]] = [
      (lambda: store.append(tmp_path, {"a": 1}), tmp_path, "is a folder"),
      (lambda: store.load(tmp_path), tmp_path, "is a folder"),
      (lambda: store.replace(tmp_path, ""), tmp_path, "is a folder"),
      (lambda: store.append(file / "r", {"a": 1}), file / "r", "not a folder"),
      (lambda: store.append(file / "d/r", {"a": 1}), file / "d/r", "not a fol"),
      (lambda: store.load(file / "r"), file / "r", "not a folder"),
      (lambda: store.replace(file / "r", ""), file / "r", "not a folder"),
  ]
  for act, path, text in cases:
    with pytest.raises(store.StoreError, match=f"^{path}: cannot .*: {text}"):
      act()


def _fail(code: int, share: float) -> Callable[[int, bytes], int]:
  """An `os.write` that writes a share, then is short (code 0) or raises."""
  write = os.write

  def failing(descriptor: int, data: bytes) -> int:
    written = write(descriptor, data[: int(share * len(data))])
    if code:
      raise OSError(code, os.strerror(code))
    return written

  return failing


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "disk full"),
        (errno.ENOSPC, "disk full"),
        (errno.EDQUOT, "disk quota used up"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("tail", [b"", b'{"checksum":"torn'])
def test_a_failed_write_leaves_the_file_as_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    reason: str,
    share: float,
    tail: bytes,
) -> None:
  path = tmp_path / "records.jsonl"
  records = _filled(path, 3)
  with path.open("ab") as file:
    file.write(tail)
  before = path.read_bytes()
  monkeypatch.setattr(os, "write", _fail(code, share))
  with pytest.raises(store.StoreError) as caught:
    store.append(path, {"a": 1})
  monkeypatch.undo()
  assert str(caught.value).startswith(f"{path}: cannot append: {reason}")
  assert path.read_bytes() == before
  store.append(path, {"a": 1})
  kept, damage = store.load(path)
  assert kept == [*records, {"a": 1}] and len(damage) == bool(tail)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_inside_an_append_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
  path = tmp_path / "records.jsonl"
  records = _filled(path, 3)
  write = os.write

  def interrupted(descriptor: int, data: bytes) -> int:
    write(descriptor, data[:20])
    raise stop

  monkeypatch.setattr(os, "write", interrupted)
  with pytest.raises(stop):
    store.append(path, {"a": 1})
  monkeypatch.undo()
  assert store.load(path) == (records, [])


def test_a_process_forked_inside_an_append_does_not_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "records.jsonl"
  write = os.write
  shared = []

  def forked(descriptor: int, data: bytes) -> int:
    # A copy of the descriptor is what a forked child holds.
    shared.append(os.dup(descriptor))
    return write(descriptor, data)

  monkeypatch.setattr(os, "write", forked)
  store.append(path, {"a": 1})
  with path.open("rb") as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  os.close(shared[0])


_LIMITED = """
import resource, sys
from lalm import store
from tests.oracles import record_writer
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
index = 0
try:
  while index < 1000:
    store.append(sys.argv[1], record_writer.record(index))
    index += 1
except store.StoreError as error:
  print(index, error, sep="\\n")
"""


def test_a_file_size_limit_keeps_what_the_file_holds(tmp_path: Path) -> None:
  path = tmp_path / "records.jsonl"
  command = [sys.executable, "-S", "-c", _LIMITED, str(path)]
  count, text = subprocess.run(
      command, cwd=ROOT, check=True, capture_output=True, text=True
  ).stdout.splitlines()
  assert text.startswith(f"{path}: cannot append: ")
  assert "size limit reached" in text
  records = [record_writer.record(i) for i in range(int(count))]
  assert len(records) > 3 and store.load(path) == (records, [])
  store.append(path, record_writer.record(len(records)))
  assert len(store.load(path).records) == len(records) + 1


def _inode(path: Path) -> int:
  return path.stat().st_ino


def test_a_record_is_flushed_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  events: list[tuple[str, str]] = []

  def traced(name: str) -> Callable[..., Any]:
    call = getattr(os, name)

    def wrapper(descriptor: int, *rest: Any) -> Any:
      inode = os.fstat(descriptor).st_ino
      (place,) = (p for p in (folder, *folder.iterdir()) if _inode(p) == inode)
      events.append((name, place.name))
      return call(descriptor, *rest)

    return wrapper

  folder = tmp_path / "new"
  folder.mkdir()
  for name in ("write", "fsync"):
    monkeypatch.setattr(os, name, traced(name))
  # A file someone created and left empty has a name that may not be durable.
  for path in (folder / "a", folder / "b"):
    if path.name == "b":
      path.touch()
    store.append(path, {"a": 1})
    own = [("write", path.name), ("fsync", path.name)]
    assert events == [("fsync", "new"), *own]
    events.clear()
    store.append(path, {"a": 2})
    assert events == own
    events.clear()


def test_a_failed_flush_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "records.jsonl"
  records = _filled(path, 2)

  def fail(descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  monkeypatch.setattr(os, "fsync", fail)
  with pytest.raises(store.StoreError, match="cannot append: Input/output"):
    store.append(path, {"a": 1})
  with pytest.raises(store.StoreError, match="cannot write: Input/output"):
    store.replace(path, "x")
  monkeypatch.undo()
  assert store.load(path) == (records, [])
  assert os.listdir(tmp_path) == [path.name]


def test_replace_leaves_the_old_or_the_new_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "new" / "fits.json"
  store.replace(path, "é\n")
  store.replace(path, b"\x00old")
  assert path.read_bytes() == b"\x00old"
  link = tmp_path / "link.json"
  link.symlink_to(path)
  rename = os.replace

  def fail(*names: Any) -> None:
    raise KeyboardInterrupt

  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(KeyboardInterrupt):
    store.replace(path, "new")
  assert path.read_bytes() == b"\x00old"
  monkeypatch.setattr(os, "replace", rename)
  store.replace(link, "new")
  assert link.is_symlink() and path.read_text() == "new"
  assert os.listdir(path.parent) == [path.name]
  umask = os.umask(0)
  os.umask(umask)
  assert path.stat().st_mode & 0o777 == 0o666 & ~umask
