"""The table of correctness says what is right, wrong, or neither."""

from lalm.report import verdicts


def _record(form, status, relative, **fields):
  point = {
      "mechanism": "linear",
      "form": form,
      "chunk": None,
      "dtype": "float32",
      "length": 500,
      "pass": "forward",
      "batch": 1,
      "heads": 2,
      "width": 64,
      "causal": True,
  }
  point |= {name: fields.pop(name) for name in tuple(fields) if name in point}
  error = {"relative": relative, "tolerance": 1e-6}
  return {
      "experiment": "correctness",
      "key": f"{form} {point}",
      "replicate": 0,
      "started": "2026-01-01T00:00:00Z",
      "status": status,
      "reason": "" if status == "ok" else "the reason",
      "point": point,
      **(
          {"error": error}
          if relative is not None or status != "crashed"
          else {}
      ),
      **fields,
  }


def _table(*records):
  return verdicts.tables(records, {"slug": "gpu"})


def test_each_form_has_its_distance_beside_the_tolerance():
  text = _table(
      _record("parallel", "ok", 2.5e-7),
      _record("chunkwise", "ok", 4e-8),
      _record("chunkwise", "ok", 3e-3, dtype="bfloat16"),
  )
  assert "| linear.chunkwise | 3.0e-03 | 4.0e-08 |" in text
  assert "| linear.parallel | - | 2.5e-07 |" in text
  assert "| tolerance | 1.0e-06 | 1.0e-06 |" in text
  assert "3 of 3 are within" in text


def test_what_is_wrong_is_marked_and_not_counted():
  text = _table(
      _record("parallel", "wrong", 0.5), _record("chunkwise", "ok", 4e-8)
  )
  assert "| linear.parallel | 5.0e-01 \\* |" in text
  assert "1 of 2 are within" in text
  assert "linear.parallel float32, forward, n = 500: wrong: the reason" in text


def test_what_is_not_finite_is_the_farthest():
  one = _record("parallel", "ok", 4e-8)
  two = _record("parallel", "not_finite", None)
  text = _table(one, {**two, "key": one["key"], "replicate": 1})
  assert "| linear.parallel | inf \\* |" in text
  assert "0 of 1 are within" in text


def test_what_could_not_be_compared_is_neither():
  text = _table(_record("parallel", "crashed", None))
  assert "| linear.parallel | - |" in text and "0 of 1 are within" in text
  assert "crashed: the reason" in text
