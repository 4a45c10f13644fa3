"""A process that appends known records and dies, waits or fails on request.

Run as a script with one argument, a job in JSON:

  path: file of records.
  indices: the records to append, in order; those already done are skipped.
  fault: what `os.write` of a record does, see `FAULTS`; null for nothing.
  at: which write of this process the fault strikes, from 0.
  share: part of the bytes that are written when it strikes, 0 to 1.

It prints the index of each record when `append` has returned, nothing earlier.
"""

import json
import os
import signal
import sys
import time
from typing import Any

from lalm import store

_write = os.write


def record(index: int) -> dict[str, Any]:
  """The record of an index; sizes go from one sector to several pages."""
  return {
      "key": f"{index:016x}",
      "replicate": index % 5,
      "status": "ok" if index % 7 else "timeout",
      "point": {"length": 2**index if index < 60 else index, "text": "\n\x00é"},
      "seconds": [index / 3 + 1e-3 * i for i in range(1 + index * 37 % 400)],
      "error": float("inf") if index % 3 else 1e-300,
  }


def die(descriptor: int, data: bytes, share: float) -> int:
  """Writes a part and is killed before the write returns."""
  _write(descriptor, data[: int(share * len(data))])
  os.kill(os.getpid(), signal.SIGKILL)
  return 0


def stop_short(descriptor: int, data: bytes, share: float) -> int:
  """Writes a part, tells, waits for a byte, then says how much it wrote."""
  written = _write(descriptor, data[: int(share * len(data))])
  _write(1, b"writing\n")
  os.read(0, 1)
  return written


def in_two(descriptor: int, data: bytes, share: float) -> int:
  """Writes all of it in two parts, as a network file system may."""
  part = int(share * len(data))
  written = _write(descriptor, data[:part])
  time.sleep(1e-4)
  return written + _write(descriptor, data[part:])


FAULTS = {"die": die, "stop_short": stop_short, "in_two": in_two}


def main() -> None:
  job = json.loads(sys.argv[1])
  count = 0

  def write(descriptor: int, data: bytes) -> int:
    nonlocal count
    count += 1
    if job["fault"] and (count - 1 == job["at"] or job["at"] is None):
      return FAULTS[job["fault"]](descriptor, data, job["share"])
    return _write(descriptor, data)

  records = store.load(job["path"]).records
  finished = {(row["key"], row["replicate"]) for row in records}
  os.write = write
  for index in job["indices"]:
    row = record(index)
    if (row["key"], row["replicate"]) not in finished:
      try:
        store.append(job["path"], row)
      except store.StoreError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
      _write(1, b"%d\n" % index)


if __name__ == "__main__":
  main()
