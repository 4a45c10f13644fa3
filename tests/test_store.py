"""The store: what is appended comes back unaltered, or is said to be lost."""

import hashlib
import json
import math
import os
from pathlib import Path
import random
from typing import Any

import numpy as np
import pytest

from lalm import store
from tests.oracles import record_writer


def _filled(path: Path, count: int) -> list[dict[str, Any]]:
  records = [record_writer.record(i) for i in range(count)]
  for record in records:
    store.append(path, record)
  return records


def test_what_is_appended_is_loaded(tmp_path: Path) -> None:
  path = tmp_path / "new" / "folder" / "records.jsonl"
  assert store.load(path) == ([], [])
  records = _filled(path, 30)
  records.append(
      {
          "deep": [[{"a": [None, True, -0.0, 5e-324, 2**63 - 1, -(2**63)]}]],
          "words": [
              "NaN",
              "\\NaN",
              "-Infinity",
              "\\\\Infinity",
              "nan",
              '"\ud800',
          ],
          '"{"checksum":"': '{"checksum":"',
          "limits": [math.inf, -math.inf, 1.7976931348623157e308],
      }
  )
  store.append(path, records[-1])
  assert store.load(path) == (records, [])
  assert (
      math.copysign(1, store.load(path).records[-1]["deep"][0][0]["a"][2]) < 0
  )


def test_every_line_is_strict_json_with_its_checksum_as_a_field(
    tmp_path: Path,
) -> None:
  path = tmp_path / "records.jsonl"
  store.append(path, {"b": math.nan, "a": [math.inf, "é"], "c": {"d": 1}})

  def refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")

  (line,) = path.read_text(encoding="ascii").splitlines()
  row = json.loads(line, parse_constant=refuse)
  assert len(row.pop("checksum")) == 16
  assert row == {"b": "NaN", "a": ["Infinity", "é"], "c": {"d": 1}}
  assert math.isnan(store.load(path).records[0]["b"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(1e-300), 1e-300),
        (np.int64(-3), -3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(2.0), 2.0),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.inf]), [1.0, math.inf]),
        ((1, (2,)), [1, [2]]),
    ],
)
def test_numpy_values_and_tuples_come_back_as_python(
    tmp_path: Path, value: Any, expected: Any
) -> None:
  path = tmp_path / "records.jsonl"
  store.append(path, {"value": value})
  (record,) = store.load(path).records
  assert record == {"value": expected}
  assert type(record["value"]) is type(expected)


def _loop() -> dict[str, Any]:
  loop: dict[str, Any] = {}
  loop["again"] = [loop]
  return loop


@pytest.mark.parametrize(
    ("record", "error", "text"),
    [
        (
            {"m": {"v": 1j}},
            TypeError,
            r"record\['m'\]\['v'\].* got type complex",
        ),
        ({"v": [0, np.longdouble(1)]}, TypeError, r"record\['v'\]\[1\].*long"),
        ({"v": np.datetime64("2020-01-01")}, TypeError, "got type date"),
        ({"v": b"x"}, TypeError, "got type bytes"),
        ({"v": {1: 2}}, TypeError, "expected string keys, got 1"),
        ({"v": 2**63}, ValueError, "expected an integer of 64 bits"),
        ({"v": {"checksum": 1}}, ValueError, "expected no reserved key"),
        (_loop(), ValueError, "expected at most 32 levels"),
        ({}, ValueError, "expected at least one field"),
        ([1], TypeError, "expected a mapping, got type list"),
    ],
)
def test_a_record_that_cannot_be_stored_is_refused_before_any_write(
    tmp_path: Path, record: Any, error: type[Exception], text: str
) -> None:
  path = tmp_path / "records.jsonl"
  with pytest.raises(error, match=text):
    store.append(path, record)
  assert not path.exists()


def test_repeated_records_are_all_loaded(tmp_path: Path) -> None:
  path = tmp_path / "records.jsonl"
  for _ in range(3):
    store.append(path, {"key": "a", "replicate": 0})
  assert store.load(path).records == [{"key": "a", "replicate": 0}] * 3


def test_every_truncation_loses_the_cut_record_only(tmp_path: Path) -> None:
  path = tmp_path / "records.jsonl"
  records = [record_writer.record(i) | {"seconds": [i / 3]} for i in range(5)]
  for record in records:
    store.append(path, record)
  content = path.read_bytes()
  lines = content.splitlines(keepends=True)
  starts = [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]
  for size in range(len(content) + 1):
    os.truncate(path, size)
    whole = sum(size >= end - 1 for end in starts[1:])
    kept, damage = store.load(path)
    assert kept == records[:whole]
    if size in starts or size + 1 in starts:
      assert not damage
    else:
      ((line, offset, reason),) = damage
      assert (line, offset) == (whole + 1, starts[whole])
      assert "end of line missing" in reason
    # The next record is whole whatever the torn tail before it.
    store.append(path, {"next": size})
    kept, damage_after = store.load(path)
    assert kept == [*records[:whole], {"next": size}]
    assert [d[:2] for d in damage_after] == [d[:2] for d in damage]
    path.write_bytes(content)


def _corrupt(
    draw: random.Random, content: bytes
) -> tuple[str, bytes, int, int]:
  """Kind, new content, and start and length of the bytes it replaces."""
  kind = draw.choice(
      ["flip", "delete", "insert", "duplicate", "nul", "random", "newline"]
  )
  start = draw.randrange(len(content))
  # Half of them begin at the border of a line, where two lines may be harmed.
  if draw.random() < 0.5:
    borders = [i for i, byte in enumerate(content) if byte == 10]
    start = min(draw.choice(borders) + draw.randint(-1, 1), len(content) - 1)
  span = draw.choice([1, 1, 2, 7, 60, 2000])
  span = min(span, len(content) - start)
  old = content[start : start + span]
  if kind == "flip":
    span, new = 1, bytes([old[0] ^ 1 << draw.randrange(8)])
  elif kind == "delete":
    new = b""
  elif kind == "insert":
    span, new = 0, draw.randbytes(draw.choice([1, 3, 50]))
  elif kind == "duplicate":
    new, span = old, 0
  elif kind == "nul":
    new = bytes(span)
  elif kind == "newline":
    span, new = draw.randint(0, 1), b"\n"
  else:
    new = draw.randbytes(span)
  damaged = content[:start] + new + content[start + span :]
  return kind, damaged, start, span


def test_a_thousand_corruptions_lose_only_what_they_touch(
    tmp_path: Path,
) -> None:
  path = tmp_path / "records.jsonl"
  records = _filled(path, 9)
  content = path.read_bytes()
  lines = content.splitlines(keepends=True)
  originals = set(lines)
  draw = random.Random(20_240_917)
  seen: dict[str, int] = {}
  lost = 0
  for _ in range(1000):
    kind, damaged, start, span = _corrupt(draw, content)
    path.write_bytes(damaged)
    kept, damage = store.load(path)
    # Nothing altered is ever returned.
    assert all(record in records for record in kept)
    # A line none of whose bytes were touched survives, in its order.
    offset, untouched = 0, []
    for record, line in zip(records, lines):
      end = offset + len(line)
      inside = (
          offset < start < end
          if span == 0
          else (start < end and offset < start + span)
      )
      if not inside:
        untouched.append(record)
      offset = end
    remaining = iter(kept)
    assert all(any(r == k for k in remaining) for r in untouched), kind
    # Every line that is no longer one of the originals is named, no other.
    offset, expected = 0, []
    for number, line in enumerate(damaged.split(b"\n"), start=1):
      if line and line + b"\n" not in originals:
        expected.append((number, offset))
      offset += len(line) + 1
    assert [d[:2] for d in damage] == expected, kind
    assert all(d.reason for d in damage)
    lost += len(damage)
    seen[kind] = seen.get(kind, 0) + 1
    if kind == "flip":
      assert len(kept) >= len(records) - 1
  assert min(seen.values()) >= 100 and lost >= 700
  path.write_bytes(content)
  assert store.load(path) == (records, [])


def _sealed(body: bytes) -> bytes:
  """A line whose checksum is right, whatever it holds."""
  checksum = hashlib.blake2b(b"{" + body, digest_size=8).hexdigest().encode()
  return b'{"checksum":"' + checksum + b'",' + body + b"\n"


def test_files_that_hold_no_records_load_as_damage(tmp_path: Path) -> None:
  path = tmp_path / "records.jsonl"
  for content in (
      b"\x00" * 5000,
      b"[" * 100_000,
      b'{"checksum":"0123456789abcdef"}',
      b'{"key":"a","replicate":0}',
      b"\xff\xfe{\x00",
      b'{"checksum":"',
      _sealed(b"not JSON"),
      _sealed(b'"a":' + b"[" * 100_000),
      random.Random(1).randbytes(10_000),
  ):
    path.write_bytes(content)
    records, damage = store.load(path)
    assert not records
    assert len(damage) == sum(bool(line) for line in content.split(b"\n"))
    store.append(path, {"next": 1})
    assert store.load(path).records == [{"next": 1}]
