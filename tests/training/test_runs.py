"""What a run is judged by, how its seeds differ, and what it says it cost."""

import jax
import numpy as np
import pytest

from lalm.data import batches
from lalm.measure import operations
from lalm.models import transformer
from lalm.training import copying
from lalm.training import loop
from lalm.training import runs
from lalm.training import step

_TASK = copying.Task()
_POINT = {
    "mechanism": "linear", "form": "training", "pass": "forward_backward",
    "length": 16, "batch": 4, "heads": 2, "width": 8, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 5,
    "layers": 1, "steps": 29, "rounds": 15, "rate": 1e-2, "drop": 20,
}  # fmt: skip


def test_only_the_second_word_counts():
  data = _TASK.data(_POINT, 0, None)
  parameters = transformer.init(jax.random.key(0), _TASK.sizes(_POINT))
  found = data.judge(parameters)
  nats, right, count = 0.0, 0, 0
  for number in range(copying._JUDGED):
    batch = batches.copies(4, 16, 10, seed=copying._HELD_OUT, step=number)
    logits = transformer.forward(
        parameters, _TASK.sizes(_POINT), batch.tokens
    ).logits
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    for b, t in zip(*np.nonzero(batch.weights)):
      target = batch.targets[b, t]
      nats -= logs[b, t, target]
      right += int(np.argmax(logs[b, t]) == target)
      count += 1
  assert 0 < count < 4 * 16 * copying._JUDGED
  assert found["loss"] == pytest.approx(nats / count, rel=1e-5)
  assert found["accuracy"] == pytest.approx(right / count)


class _Seen(Exception):
  pass


def _plans(monkeypatch, tmp_path):
  """The plans of two seeds, which are not run."""
  seen = []

  def run(plan, folder, **_):
    seen.append((plan, folder))
    raise _Seen

  monkeypatch.setattr(loop, "run", run)
  for replicate in range(2):
    with pytest.raises(_Seen):
      copying.TARGET.measure(_POINT, replicate, {"kept": str(tmp_path)})
  return seen


def test_a_replicate_is_a_seed_of_its_own(monkeypatch, tmp_path):
  (one, first), (two, second) = _plans(monkeypatch, tmp_path)
  assert first != second
  assert (one.batch(0).tokens != two.batch(0).tokens).any()
  leaves = [jax.tree.leaves(plan.parameters()) for plan in (one, two)]
  assert any((a != b).any() for a, b in zip(*leaves, strict=True))


def test_a_run_is_judged_as_often_as_asked(monkeypatch, tmp_path):
  (plan, _), _ = _plans(monkeypatch, tmp_path)
  judged = {min(i * plan.round, plan.steps) for i in range(1, 30)}
  assert len(judged) == _POINT["rounds"] and max(judged) == 29


def test_utilisation_is_three_forward_passes_over_the_rate(monkeypatch):
  target, sizes = runs.Target(_TASK), _TASK.sizes(_POINT)
  monkeypatch.setattr(target, "_rate", lambda dtype: 1e9)
  data = _TASK.data(_POINT, 0, None)
  made = _TASK.optimizer(_POINT).make()
  parameters = transformer.init(jax.random.key(0), sizes)
  plan = loop.Plan(
      lambda: parameters, step.cross_entropy(sizes), made, data.batch,
      data.judge, 29, 2,
  )  # fmt: skip
  lines = [
      {"step": 29, "seconds": 3.0, "loss": 1.0, "skipped": 2},
      {"step": 29, "seconds": 3.0, "judged": {"loss": float("nan")}},
  ]
  outcome = loop.Outcome(step.start(parameters, made), lines, 3.0, 10.0)
  found = target._figures(_POINT, sizes, plan, outcome)
  forward = operations.count(plan.loss, parameters, data.batch(0)).products
  assert found["products"] == 3 * forward > 0
  assert found["utilisation"] == pytest.approx(3 * forward * 10 / 1e9)
  assert found["skipped"] == 2 and found["judged"][0]["loss"] is None


def test_a_run_of_another_process_is_a_failure(monkeypatch, tmp_path):
  """Recorded as one that the next command goes on with: not as success."""

  def busy(*_, **__):
    raise loop.Busy("here")

  monkeypatch.setattr(loop, "run", busy)
  with pytest.raises(loop.Busy):
    copying.TARGET.measure(_POINT, 0, {"kept": str(tmp_path)})
