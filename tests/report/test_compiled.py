"""What was compiled says so in every table and figure."""

from lalm import store
from lalm.report import build
from lalm.report import canvas
from lalm.report import figure
from lalm.report import tables


def test_what_was_compiled_is_never_shown_as_measured(tmp_path):
  records = [
      {
          **record,
          "provenance": "compiled", "machine": "tpu-v5e-2x2", "replicate": 0,
          "sharding": "passed states",
          "estimate": {
              "roofline_seconds": 1e-3 * record["point"]["length"],
              "compiler_seconds": None,
              "traffic_bytes": 2**20,
              "communication_bytes": 0,
          },
      }
      for record in _compiled_points()
  ]  # fmt: skip
  folder = tmp_path / "tpu-v5e-2x2"
  for record in records:
    store.append(folder / "records.jsonl", record)
  store.replace(folder / "environment.json", '{"device_count": 4}')
  found = build.rebuild(folder).results
  for text in (
      tables.markdown(found), tables.text(found), tables.latex(found),
  ):  # fmt: skip
    assert "compiled, not run" in text and "roofline" in text
    assert "tpu-v5e-2x2, 4 devices" in text and "worker" not in text
    assert "| time" not in text and "time at" not in text
  assert "| passed states | 1.00 KiB | 1.00 MiB | none | 256 ms | - |" in (
      tables.markdown(found)
  )
  assert "without what devices send each other" in tables.markdown(found)
  assert ",compiled," in tables.comma_separated(found)
  with canvas.settings():
    drawn = figure.draw(found.groups[0], found.environment)
  labels = [axes.get_ylabel() for axes in drawn.axes]
  assert "roofline per call" in labels and "time per call" not in labels
  assert "Compiled, not run" in drawn.texts[-1].get_text()


def _compiled_points():
  point = {
      "mechanism": "linear", "form": "chunkwise", "pass": "forward",
      "batch": 1, "heads": 8, "width": 64, "value_width": 64,
      "dtype": "float32", "causal": True, "chunk": None, "corpus": "",
      "seed": 0,
  }  # fmt: skip
  for length in (256, 512, 1024):
    yield {
        "key": str(length), "status": "ok", "reason": "", "device": "tpu",
        "point": {**point, "length": length}, "versions": {"jax": "1"},
        "experiment": "attention_scaling", "started": "2026",
        "memory": {"peak_bytes": 4 * length, "device_bytes": 4 * length},
        "operations": {"products": length, "closed_form": length},
    }  # fmt: skip
