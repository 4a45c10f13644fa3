"""A sweep of the stub: `python -m tests.launch.stub_sweep ARGUMENTS`.

Variables of the environment:

  STUB_ACK       file that gets a line for each record acknowledged
  STUB_WRITES    seconds to pause in the middle of every write of a record,
                 after saying "writing" on standard output
  STUB_REAL      if set, the sweep is of real kernels: attention_scaling
"""

import os
import pathlib
import sys
import time

from lalm.launch import command
from lalm.launch import ledger
from lalm.launch import signals


def finish(folder):
  """Counts the records: what follows from them, for eight to write at once."""
  records = ledger.Ledger(folder)
  count = sum(1 for _ in open(records.path, encoding="ascii"))
  ledger.write_json(folder / "fits.json", {"lines": count})
  print(f"finished with {count} lines", flush=True)


EXPERIMENT = command.Experiment(
    name="stub_sweep",
    summary="What a sweep does when its points misbehave.",
    config=pathlib.Path(__file__).with_name("stub_config.py"),
    target="tests.launch.stub:TARGET",
    catalogue="tests.launch.stub",
    finish=finish,
)


def _announce_writes(seconds):
  """Makes every write of a record two halves with a pause between them."""
  write = os.write

  def halves(descriptor, data):
    if b'{"checksum"' not in bytes(data[:20]):
      return write(descriptor, data)
    count = write(descriptor, data[: len(data) // 2])
    write(1, b"writing\n")
    time.sleep(seconds)
    return count + write(descriptor, data[count:])

  os.write = halves


def _acknowledge(path):
  """Notes the identity of every record once adding it has returned."""
  add = ledger.Ledger.add

  def noted(self, record):
    added = add(self, record)
    line = f"{record['key']} {record['replicate']} {record['status']}\n"
    with signals.shielded(), open(path, "ab") as file:
      file.write(line.encode())
    return added

  ledger.Ledger.add = noted


def main(argv):
  if seconds := os.environ.get("STUB_WRITES"):
    _announce_writes(float(seconds))
  if path := os.environ.get("STUB_ACK"):
    _acknowledge(path)
  if os.environ.get("STUB_REAL"):
    from experiments import attention_scaling

    return command.run(argv, attention_scaling.EXPERIMENT)
  return command.run(argv, EXPERIMENT)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
