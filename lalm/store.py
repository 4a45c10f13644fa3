"""Append-only records: one checksummed JSON object per line.

A record is a dict of JSON values. Its line is

    {"checksum":"<16 hex>",<the record in canonical JSON, keys sorted>}

with the BLAKE2b-64 of the canonical JSON (the line without that field), so a
line proves itself byte for byte and any JSON reader still reads the file:
`pandas.read_json(path, lines=True)`.

What is promised:

- When `append` returns, the record is on the disk, whole, on a line of its own.
- A writer killed at any moment leaves at most one torn line, its own, and only
  of a record it had not yet acknowledged.
- A write that fails (disk full, limit, error of the device) leaves the file as
  it was.
- Any number of processes may append to one file.
- `load` returns records exactly as they were appended, or not at all.

JSON has no number that is not finite: NaN and the infinities are stored as the
strings "NaN", "Infinity" and "-Infinity" and loaded as floats again; a string
that spells one of them is stored behind a backslash, so it stays a string.
Tuples and NumPy arrays come back as lists, NumPy scalars as Python numbers.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
from typing import Any, NamedTuple

Path = str | os.PathLike[str]
Record = dict[str, Any]

# Statuses of a point that was not tried: a later run may still measure it.
NOT_TRIED = ("over_budget", "skipped")

# Within a record quotes are escaped and the key is reserved, so these bytes
# occur only where a line begins.
_MARK = b'{"checksum":"'
_DIGITS = 16
_BODY = len(_MARK) + _DIGITS + len(b'",')

# Levels of a record; deeper ones might be written and then not be read.
_DEPTH = 32

_NOT_FINITE = re.compile(r"\\*(NaN|-?Infinity)")

_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EFBIG: "file size limit reached",
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.ENOTDIR: "not a folder",
    errno.EISDIR: "is a folder, expected a file",
}


class StoreError(OSError):
  """A file of results cannot be read or written; one line with its path."""

  def __str__(self) -> str:
    return f"{self.filename}: {self.strerror}"


class Damage(NamedTuple):
  """A line that is not one whole record as it was appended.

  Attributes:
    line: number of the line, from 1.
    offset: byte at which the line begins, from 0.
    reason: what is wrong with it.
  """

  line: int
  offset: int
  reason: str


class Contents(NamedTuple):
  """What a file of records holds: intact records in order, and the damage."""

  records: list[Record]
  damage: list[Damage]


def append(path: Path, record: Mapping[str, Any]) -> None:
  """Appends a record; when this returns, it is on the disk.

  Folders that are missing are created.

  Args:
    path: file of records, created if missing.
    record: at least one field; None, bool, int (64 bits), float, str, lists,
      tuples, mappings with string keys, NumPy scalars and arrays. The key
      "checksum" is reserved.

  Raises:
    StoreError: it could not be written; the file is as it was.
    TypeError: a value is of no such kind; names the field.
    ValueError: the record is empty, more than 32 levels deep, uses the reserved
      key, or holds an integer of more than 64 bits.
  """
  line = _line(record)
  with _explained(path, "append"):
    _make_folder(os.path.dirname(os.path.abspath(path)))
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    with _opened(path, flags, fcntl.LOCK_EX) as descriptor:
      _write_line(descriptor, line, path)


def load(path: Path) -> Contents:
  """Reads every intact record, and says which lines are damaged.

  A line that has lost its end to a neighbour is taken apart, so that a record
  whose own bytes are untouched is never lost. Repeated records are all kept.
  A missing file is empty. Damaged content never raises.

  Raises:
    StoreError: the file is there and cannot be read.
  """
  try:
    with (
        _explained(path, "read"),
        _opened(path, os.O_RDONLY, fcntl.LOCK_SH) as descriptor,
        os.fdopen(os.dup(descriptor), "rb") as file,
    ):
      content = file.read()
  except StoreError as error:
    if error.errno == errno.ENOENT:
      return Contents([], [])
    raise
  records: list[Record] = []
  damage: list[Damage] = []
  offset = 0
  for number, line in enumerate(content.split(b"\n"), start=1):
    if line:
      found, reason = _read_line(line)
      records += found
      if reason:
        if offset + len(line) == len(content):
          reason += ", end of line missing"
        damage.append(Damage(number, offset, reason))
    offset += len(line) + 1
  return Contents(records, damage)


def replace(path: Path, text: str | bytes) -> None:
  """Writes a whole file at once: readers see the old or the new, never a mix.

  Not for files that are appended to. Folders that are missing are created; a
  link is followed.

  Args:
    path: the file.
    text: its new content; str is encoded as UTF-8.

  Raises:
    StoreError: it could not be written; the old content stays and nothing else
      is left behind.
  """
  data = text.encode() if isinstance(text, str) else text
  folder, name = os.path.split(os.path.realpath(path))
  # In the same folder, since a rename is atomic only within a file system.
  temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
  with _explained(path, "write"):
    _make_folder(folder)
    try:
      with open(temporary, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, os.path.join(folder, name))
    except BaseException:
      with contextlib.suppress(OSError):
        os.unlink(temporary)
      raise
    _sync_folder(folder)


def _write_line(descriptor: int, line: bytes, path: Path) -> None:
  """Writes a line at the end of a locked file, or leaves the file as it was."""
  end = os.fstat(descriptor).st_size
  if end == 0:
    # Before the first record, so that a file with records has a durable name
    # whoever created it.
    _sync_folder(os.path.dirname(os.path.abspath(path)))
  elif os.pread(descriptor, 1, end - 1) != b"\n":
    # A writer was killed inside its line: leave that line to itself.
    line = b"\n" + line
  try:
    written = os.write(descriptor, line)
    if written != len(line):
      # Only a further write would tell which of them cut this one short.
      text = "cannot append: disk full, or a quota or size limit reached"
      raise StoreError(errno.ENOSPC, text, os.fspath(path))
    os.fsync(descriptor)
  except BaseException:
    with contextlib.suppress(OSError):
      os.ftruncate(descriptor, end)
    raise


def _line(record: Mapping[str, Any]) -> bytes:
  """The line of a record, its end included."""
  if not isinstance(record, Mapping):
    raise TypeError(_wrong((), "a mapping", f"type {type(record).__name__}"))
  if not record:
    raise ValueError(_wrong((), "at least one field", "none"))
  body = json.dumps(
      _encode(record, ()), sort_keys=True, separators=(",", ":")
  ).encode("ascii")
  return _MARK + _checksum(body) + b'",' + body[1:] + b"\n"


def _checksum(body: bytes) -> bytes:
  return hashlib.blake2b(body, digest_size=_DIGITS // 2).hexdigest().encode()


def _encode(value: Any, where: tuple[str | int, ...]) -> Any:
  """The value in types JSON knows; `where` leads to it from the record."""
  if value is None or isinstance(value, bool):
    return value
  if isinstance(value, str):
    return "\\" + value if _NOT_FINITE.fullmatch(value) else str(value)
  if isinstance(value, int):
    if not -(2**63) <= value < 2**63:
      raise ValueError(_wrong(where, "an integer of 64 bits", "a longer one"))
    return int(value)
  if isinstance(value, float):
    return _encode_float(float(value))
  if len(where) > _DEPTH:
    raise ValueError(_wrong(where, f"at most {_DEPTH} levels", "more"))
  if isinstance(value, Mapping):
    for key in value:
      if not isinstance(key, str):
        raise TypeError(_wrong(where, "string keys", repr(key)))
      if key == "checksum":
        raise ValueError(_wrong(where, "no reserved key", '"checksum"'))
    return {str(k): _encode(x, (*where, k)) for k, x in value.items()}
  if isinstance(value, (list, tuple)):
    return [_encode(x, (*where, i)) for i, x in enumerate(value)]
  if hasattr(value, "tolist"):
    plain = value.tolist()
    # A scalar that has no Python equal (long double) gives itself back.
    if type(plain) is not type(value):
      return _encode(plain, where)
  kind = type(value).__name__
  raise TypeError(_wrong(where, "a JSON or NumPy value", f"type {kind}"))


def _encode_float(value: float) -> float | str:
  if math.isfinite(value):
    return value
  if math.isnan(value):
    return "NaN"
  return "Infinity" if value > 0 else "-Infinity"


def _wrong(where: tuple[str | int, ...], expected: str, got: str) -> str:
  name = "record" + "".join(f"[{part!r}]" for part in where[:4])
  return f"{name}: expected {expected}, got {got}"


def _decode(value: Any) -> Any:
  """Undoes `_encode`."""
  if isinstance(value, dict):
    return {key: _decode(item) for key, item in value.items()}
  if isinstance(value, list):
    return [_decode(item) for item in value]
  if isinstance(value, str) and _NOT_FINITE.fullmatch(value):
    return value[1:] if value.startswith("\\") else float(value)
  return value


def _read_line(line: bytes) -> tuple[list[Record], str]:
  """Intact records of a line, and what is wrong with it ("" if nothing)."""
  record = _read_record(line)
  if record is not None:
    return [record], ""
  starts = [match.start() for match in re.finditer(re.escape(_MARK), line)]
  pieces = [line[i:j] for i, j in zip(starts, [*starts[1:], len(line)])]
  found = [r for r in map(_read_record, pieces) if r is not None]
  if found:
    return found, f"{len(found)} whole record(s) within a longer line"
  if starts != [0]:
    return found, "does not begin as one record"
  return found, "checksum differs"


def _read_record(line: bytes) -> Record | None:
  """The record of a line without its end; None if it is damaged."""
  body = b"{" + line[_BODY:]
  if line[:_BODY] != _MARK + _checksum(body) + b'",':
    return None
  try:
    return _decode(json.loads(body))
  except (ValueError, RecursionError):
    # A checksum is no signature: others may have written such a line.
    return None


@contextlib.contextmanager
def _explained(path: Path, action: str) -> Iterator[None]:
  """Turns errors of the system into one line that names the path."""
  try:
    yield
  except StoreError:
    raise
  except OSError as error:
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    text = f"cannot {action}: {reason}"
    raise StoreError(error.errno, text, os.fspath(path)) from error


@contextlib.contextmanager
def _opened(path: Path, flags: int, lock: int) -> Iterator[int]:
  """An open and locked file; flock, so that threads exclude each other too."""
  descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
  try:
    try:
      fcntl.flock(descriptor, lock)
    except OSError:
      # Without a lock a reader may see the last line unfinished, and says so.
      if lock == fcntl.LOCK_EX:
        raise
    yield descriptor
  finally:
    # A process forked meanwhile shares the lock: closing would not end it.
    with contextlib.suppress(OSError):
      fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _make_folder(folder: str) -> None:
  """Creates a folder and those above it, durably."""
  if os.path.isdir(folder):
    return
  _make_folder(os.path.dirname(folder))
  with contextlib.suppress(FileExistsError):
    os.mkdir(folder)
  _sync_folder(os.path.dirname(folder))


def _sync_folder(folder: str) -> None:
  descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
  try:
    os.fsync(descriptor)
  except OSError as error:
    # Some file systems have no such operation; they cannot promise more.
    if error.errno not in (errno.EINVAL, errno.ENOTSUP):
      raise
  finally:
    os.close(descriptor)
