"""The table of compiled libraries says what the records say."""

from lalm.report import peer_programs


def _record(library, memory, traffic, roofline, status="ok", **point):
  point = {
      "mechanism": "softmax", "causal": True, "pass": "forward",
      "length": 1024, "form": library, "batch": 1, "heads": 8, "width": 64,
      "dtype": "bfloat16", **point,
  }  # fmt: skip
  return {
      "experiment": "peer_comparison",
      "point": point,
      "replicate": 0,
      "status": status,
      "reason": "" if status == "ok" else "asked for too much",
      "key": library,
      "memory": {"device_bytes": memory},
      "estimate": {"traffic_bytes": traffic, "roofline_seconds": roofline},
      "versions": {"jax": "1.2.3"},
  }


def _rows(records, missing=None):
  environment = {"machine": "h100"}
  return peer_programs.tables(records, environment, missing or {}).split("\n")


def test_others_are_told_beside_ours():
  rows = _rows(
      [
          _record("jax.nn", 6 * 2**20, 2**21, 3e-6),
          _record("lalm", 2**21, 2**22, 1e-6),
          _record("cudnn", 2**20, 2**20, None),
      ]
  )
  assert rows[0].startswith("**libraries on one device of h100, B=1, H=8")
  found = [row[2:-2].split(" | ") for row in rows if "| softmax |" in row]
  assert [row[1:] for row in found] == [
      [library, "forward", "1,024", *cells]
      for library, *cells in (
          ("lalm", "2.00 MiB", "4.00 MiB", "1.00 us"),
          ("cudnn", "1.00 MiB (0.5)", "1.00 MiB (0.25)", ""),
          ("jax.nn", "6.00 MiB (3)", "2.00 MiB (0.5)", "3.00 us (3)"),
      )
  ]


def test_what_failed_or_is_missing_says_why():
  rows = _rows(
      [
          _record("lalm", 2**21, 2**22, 1e-6),
          _record("jax.nn", 0, 0, 0.0, "out_of_memory", length=2048),
      ],
      {"softmax": {"torch": "a device"}, "linear": {"jla": "jla"}},
  )
  expected = "- softmax, jax.nn, forward at 2,048: out_of_memory: asked for"
  assert any(row.startswith(expected) for row in rows)
  assert "- softmax, torch: missing: needs a device" in rows
  assert not any("jla" in row or "| 2,048 |" in row for row in rows)
