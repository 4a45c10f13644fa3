"""The records of one device's folder: what is done, and adding to it once.

A record is one replicate of one point, its identity (key, replicate). Many
processes may share a folder: whoever finishes second adds nothing.
"""

import contextlib
import fcntl
import json
import os
import pathlib
from typing import Any, Iterator

from lalm import store
from lalm.launch import signals

REFUSED = "refused"  # what was asked for cannot be planned
FAILED = (
    REFUSED, "wrong", "not_finite", "out_of_memory", "timeout", "crashed",
)  # fmt: skip

Record = dict[str, Any]


class Ledger:
  """The records in a folder, as they were when last looked at.

  Attributes:
    folder: where they are; created with the first record.
    damage: one line per damaged line of the file.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder
    self.path = folder / "records.jsonl"
    self.damage: list[str] = []
    self._records: dict[str, dict[int, Record]] = {}
    self.refresh()

  def refresh(self) -> None:
    """Reads what others have added; StoreError where that is not possible."""
    records, damage = store.load(self.path)
    self.damage = [
        f"{self.path}: line {at.line}: {at.reason}; ignored" for at in damage
    ]
    self._records = {}
    for record in records:
      self._put(record)

  def find(self, key: str, replicate: int) -> Record | None:
    """The record of an identity; one that was tried before one that was not."""
    return self._records.get(key, {}).get(replicate)

  def tried(self, key: str, replicate: int) -> bool:
    """Whether the replicate of the point is done, well or not."""
    record = self.find(key, replicate)
    return record is not None and record["status"] not in store.NOT_TRIED

  def of(self, key: str) -> list[Record]:
    """The records of a point, by replicate."""
    return [record for _, record in sorted(self._records.get(key, {}).items())]

  def add(self, record: Record) -> bool:
    """Appends a record unless its identity is there already.

    A record of a point that was not tried gives way to one that was.

    Returns:
      Whether it was appended; once it returns, the record is on the disk.

    Raises:
      StoreError: it could not be written.
    """
    with exclusive(self.folder):
      self.refresh()
      before = self.find(record["key"], record["replicate"])
      if before is not None and not _supersedes(record, before):
        return False
      with signals.shielded():
        store.append(self.path, record)
        self._put(record)
    return True

  def _put(self, record: Record) -> None:
    if not {"key", "replicate", "status"} <= record.keys():
      return
    replicates = self._records.setdefault(record["key"], {})
    before = replicates.get(record["replicate"])
    if before is None or _supersedes(record, before):
      replicates[record["replicate"]] = record


def _supersedes(record: Record, before: Record) -> bool:
  left_out = store.NOT_TRIED
  return before["status"] in left_out and record["status"] not in left_out


@contextlib.contextmanager
def exclusive(folder: pathlib.Path) -> Iterator[None]:
  """One process at a time in a folder; the lock leaves no file behind."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  except OSError as error:
    reason = error.strerror or str(error)
    raise store.StoreError(error.errno, reason, str(folder)) from None
  try:
    # Some network file systems lock no folders: each write is whole even so.
    with contextlib.suppress(OSError):
      fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
  finally:
    os.close(descriptor)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a whole JSON file, atomically; StoreError where it cannot be."""
  with signals.shielded():
    store.replace(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
