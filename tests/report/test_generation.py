"""The table of generated sequences, from hand-made records."""

from lalm.report import generation

_POINT = {
    "pass": "forward", "length": 784, "batch": 1, "heads": 8, "width": 32,
    "value_width": 32, "layers": 8, "dtype": "float32", "causal": True,
    "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip


def _records(mechanism, form, seconds, **point):
  point = {**_POINT, "mechanism": mechanism, "form": form, **point}
  for replicate, value in enumerate(seconds):
    yield {
        "key": f"{mechanism}{form}{point['length']}", "replicate": replicate,
        "status": "ok", "point": point, "experiment": "generation_time",
        "machine": "m", "device": "cpu", "versions": {"jax": "1"},
        "started": "2026", "seconds": [value], "calls": 1,
    }  # fmt: skip


_RECORDS = [
    *_records("linear", "state", (2.0, 4.0, 5.0)),
    *_records("softmax", "state", (3.0, 4.0, 10.0)),
    *_records("softmax", "stateless", (40.0, 40.0, 100.0)),
    *_records("softmax", "whole", (50.0,)),
    *_records("linear", "state", (10.0,), length=3072, layers=16),
    *_records("softmax", "stateless", (1000.0,), length=3072, layers=16),
]


def test_ratios_are_of_the_same_worker_and_stand_beside_the_papers():
  text = generation.tables(_RECORDS, {"slug": "here"})
  rows = [line.split(" | ") for line in text.splitlines() if "| 784" in line]
  assert [row[2].strip() for row in rows] == [
      "softmax, no cache (integral)",
      "softmax, no cache (every prefix)",
      "softmax, cached",
      "linear, its state",
  ]
  assert rows[0][4].startswith("20.00 [") and rows[0][5].startswith("13.2")
  assert rows[1][4] == "25.00 (1 worker)"
  assert rows[2][4].startswith("1.50 [") and rows[2][5].startswith("1.3")
  assert "| 3,072 | 16 | softmax, no cache (integral) | 1,000 s |" in text
  assert "100.00 (1 worker) | 191.8 |" in text


def test_the_integral_is_held_against_every_prefix_of_the_same_worker():
  text = generation.tables(_RECORDS, {})
  assert "prefixes run is 0.800, beyond the 5% that are allowed" in text
  assert "all prefixes run" not in generation.tables(_RECORDS[:6], {})


def test_the_papers_numbers_stand_beside_a_model_of_its_sizes_only():
  narrow = list(_records("softmax", "state", (3.0,), width=16))
  assert "1.3 |" in generation.tables(_RECORDS, {})
  assert "1.3 |" not in generation.tables(narrow, {})


def test_what_was_not_measured_says_why():
  (failed,) = _records("softmax", "whole", (1.0,))
  failed |= {"status": "over_budget", "reason": "too long", "seconds": []}
  text = generation.tables([*_RECORDS[:9], failed], {})
  assert "- softmax.whole, 784 tokens, 8 layers: over_budget: too long" in text


def test_another_way_of_linear_has_its_ratio():
  own = _records("linear", "stateless", (6.0, 12.0, 15.0))
  text = generation.tables([*_RECORDS, *own], {})
  assert "| linear, stateless | 12.0 s | 3.00 [3.00, 3.00] |" in text


def test_what_failed_is_named_with_its_model():
  (failed,) = _records("softmax", "whole", (1.0,), layers=4)
  failed |= {"status": "timeout", "reason": "too long"}
  text = generation.tables([*_RECORDS, failed], {})
  assert "- softmax.whole, 784 tokens, 4 layers: timeout: too long\n" in text
