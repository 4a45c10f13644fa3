"""Tables and figures of rounding errors say what the records say."""

import pytest

from lalm.report import canvas
from lalm.report import roundings
from lalm.report import roundings_figure

_ENVIRONMENT = {"slug": "cpu-test"}


def _record(relative, mechanism="linear", form="step", length=8, **fields):
  dtype, causal = fields.pop("dtype", "float32"), fields.pop("causal", True)
  point = {
      "mechanism": mechanism, "form": form, "length": length, "batch": 1,
      "heads": 1, "width": 32, "dtype": dtype, "causal": causal, "chunk": None,
  }  # fmt: skip
  record = {"point": point, "replicate": 0, "status": "ok", "reason": ""}
  record |= {"key": f"{mechanism} {form} {length} {dtype} {causal}"}
  record |= {"experiment": "form_error", "transition": "identity"}
  record |= {"versions": {"jax": "1.2.3"}, "started": "1"}
  record["distance"] = {
      "relative": relative, "tolerance": 1e-6, "within": relative <= 1e-6
  }  # fmt: skip
  return {**record, **fields}


def _sweep(**fields):
  return [
      _record(1e-7 * length, "linear", form, length, dtype=dtype, **fields)
      for form in ("step", "parallel")
      for length in (2, 16)
      for dtype in ("float32", "bfloat16")
  ]


def test_the_table_has_a_row_a_form_and_marks_what_is_beyond():
  text = roundings.tables(_sweep(), _ENVIRONMENT)
  assert "| linear.step | float32 | 2e-07 | 1.6e-06 \\* |" in text
  assert "| tolerance | bfloat16 | 1e-06 | 1e-06 |" in text
  assert "d=32, causal;" in text


def test_of_several_workers_the_farthest_counts():
  records = [_record(2e-7), _record(5e-7, replicate=1)]
  (one,) = roundings.series(records)
  assert roundings.relative(one.records[8]) == 5e-7


def test_forms_of_several_chunks_and_versions_stand_apart():
  chunks = []
  for chunk in (0, 64, 16):
    record = _record(1e-7 * (chunk + 1), form="chunkwise")
    record["point"]["chunk"] = chunk
    chunks.append({**record, "key": str(chunk)})
  text = roundings.tables(chunks, _ENVIRONMENT)
  rows = [line.split(" | ")[0] for line in text.splitlines() if "| lin" in line]
  assert rows == [
      f"| linear.chunkwise{tail}" for tail in ("", " C=16", " C=64")
  ]
  newer = [{**chunks[0], "versions": {"jax": "2"}, "started": "2"}]
  first, second = roundings.tables(chunks + newer, _ENVIRONMENT).split("**\n")[
      :2
  ]
  assert "jax 2" in first and "jax 1.2.3" in second


def test_what_cannot_be_causal_is_named():
  caption = lambda records: roundings_figure._caption(
      records, roundings.series(records), _ENVIRONMENT
  )
  full = _record(1e-7, "marks", causal=False)
  assert caption([_record(1e-7), full]).endswith("; full: marks.")
  assert caption([_record(1e-7)]).endswith("; all causal.")


def test_what_was_not_measured_says_why():
  failed = dict(status="over_budget", reason="needs 128 GiB")
  records = _sweep() + [
      _record(0, form="parallel", length=length, **failed)
      for length in (64, 256)
  ]
  text = roundings.tables(records, _ENVIRONMENT)
  note = (
      "- linear.parallel float32 at n = 64; linear.parallel float32 at n = 256:"
      " over_budget: needs 128 GiB"
  )
  assert note in text.splitlines()
  assert "| linear.parallel | float32 | 2e-07 | 1.6e-06 \\* | - | - |" in text


def _axes(records):
  drawn = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(canvas, "render", lambda draw: drawn.append(draw()) or {})
    roundings_figure.render(records, _ENVIRONMENT)
  return drawn[0].axes


def test_a_panel_is_a_family_in_a_dtype():
  records = _sweep() + [
      _record(1e-7, "delta", transition="scalar, identity plus rank one"),
      _record(1e-7, "decay", transition="scalar"),
      _record(1e-7, "levels", transition="a scalar for each level"),
      _record(1e-7, "window", transition="none: the last keys are kept"),
      _record(1e-7, "marks", causal=False, transition="none: landmarks"),
      _record(9e-7, "linear", causal=False),  # shown as causal alone
  ]
  axes = _axes(records)
  titles = [ax.get_title(loc="left") for ax in axes]
  assert titles[::2] == [
      "(a) softmax and a choice of keys, float32",
      "(c) linear, float32",
      "(e) states that decay, float32",
      "(g) states that forget, float32",
  ]
  assert titles[1] == "(b) softmax and a choice of keys, bfloat16"
  # The tolerance is a line of each panel.
  assert [len(ax.lines) - 1 for ax in axes[::2]] == [2, 2, 2, 1]
  names = [text.get_text() for ax in axes for text in ax.texts]
  assert names == ["window", "marks", "linear", "decay", "levels", "delta"]


def test_the_same_records_give_the_same_bytes_and_none_give_none():
  found = [roundings_figure.render(_sweep(), _ENVIRONMENT) for _ in range(2)]
  assert found[0] == found[1] and tuple(found[0]) == canvas.FORMATS
  assert not roundings_figure.render([], _ENVIRONMENT)
  failed = [_record(0, status="crashed")]
  assert not roundings_figure.render(failed, _ENVIRONMENT)
