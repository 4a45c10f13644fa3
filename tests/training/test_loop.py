"""A run that is interrupted ends as one that is not, bit for bit."""

import fcntl
import functools
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from lalm import store
from lalm.training import checkpoint
from lalm.training import loop
from lalm.training import step
from tests.training import conftest as small

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _same(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


def _timeless(lines):
  return [{k: v for k, v in x.items() if k != "seconds"} for x in lines]


class _Killed(Exception):
  pass


class _After:
  """Kills a run at its n-th line."""

  def __init__(self, count):
    self.left = count

  def __call__(self, progress):
    self.left -= 1
    if not self.left:
      raise _Killed


def test_it_learns_and_says_so(undisturbed):
  folder, outcome = undisturbed
  assert int(outcome.state.step) == small.STEPS
  judged = [x["judged"]["loss"] for x in outcome.metrics if "judged" in x]
  assert len(judged) == 3 and judged[2] < judged[1] < judged[0]
  lines = [x for x in outcome.metrics if "judged" not in x]
  assert [x["step"] for x in lines] == [2, 4, 6, 8, 10, 12]
  assert all(x["tokens"] == 2 * 8 * 16 for x in lines)
  assert lines[0]["loss"] > lines[-1]["loss"]
  assert outcome.speed == pytest.approx(small.STEPS / outcome.seconds)
  seconds = [x["seconds"] for x in lines]
  assert seconds == sorted(seconds) and seconds[0] > 0
  found = store.load(folder / "metrics.jsonl").records
  assert _timeless(found) == _timeless(
      sorted(outcome.metrics, key=lambda x: (x["step"], "judged" in x))
  )


_SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize("stops", (_SLOW((1,)), _SLOW((2, 1)), (4,)))
def test_a_killed_run_goes_on_to_the_same_bits(undisturbed, tmp_path, stops):
  for count in stops:
    with pytest.raises(_Killed):
      loop.run(small.plan(), tmp_path, progress=_After(count))
  found = loop.run(small.plan(), tmp_path)
  _same(found.state, undisturbed[1].state)
  assert _timeless(found.metrics) == _timeless(undisturbed[1].metrics)


def test_what_came_after_a_checkpoint_is_done_again(undisturbed, tmp_path):
  """As after kill -9: lines were written, the checkpoint after them was not."""
  with pytest.raises(_Killed):
    loop.run(small.plan(), tmp_path, progress=_After(5))
  found = loop.run(small.plan(), tmp_path)
  _same(found.state, undisturbed[1].state)
  assert _timeless(found.metrics) == _timeless(undisturbed[1].metrics)
  assert len(store.load(tmp_path / "metrics.jsonl").records) > len(
      found.metrics
  )
  here = found.seconds - found.metrics[4]["seconds"]  # from the sixth step on
  assert found.speed == pytest.approx(6 / here)
  kept = loop.lines(tmp_path / "metrics.jsonl", small.STEPS)
  assert _timeless(kept) == _timeless(found.metrics)


@pytest.mark.parametrize("kept", (None, _SLOW(0), _SLOW(8)))
def test_a_judgement_whose_line_is_damaged_is_made_again(
    undisturbed, tmp_path, kept
):
  """The last line flips a bit, or all but some are gone, or the file is."""
  loop.run(small.plan(), tmp_path)
  path = tmp_path / "metrics.jsonl"
  lines = path.read_bytes().splitlines(keepends=True)
  if kept is None:
    path.write_bytes(b"".join(lines)[:-20] + b"#" + b"".join(lines)[-19:])
  elif kept:
    path.write_bytes(b"".join(lines[:kept]))
  else:
    path.unlink()
  told = []
  found = loop.run(small.plan(), tmp_path, say=told.append)
  last, expected = found.metrics[-1], undisturbed[1].metrics[-1]
  assert last["step"] == small.STEPS and last["judged"] == expected["judged"]
  assert [("damaged" in line) for line in told] == [True] * (kept is None)


def test_a_run_of_more_steps_is_not_made_shorter(tmp_path):
  loop.run(small.plan(), tmp_path)
  with pytest.raises(ValueError, match="at most 6 steps, got one of 12"):
    loop.run(small.plan(steps=6), tmp_path)


def test_a_finished_run_is_not_run_again(undisturbed):
  folder, outcome = undisturbed

  def fail(_):
    raise AssertionError("a step of a run that is over")

  again = loop.run(small.plan(batch=fail), folder)
  _same(again.state, outcome.state)
  assert again.metrics == outcome.metrics
  assert again.speed is None  # it took no step


def test_progress_tells_how_far_it_is(tmp_path):
  told = []
  loop.run(small.plan(), tmp_path, progress=told.append)
  assert [p.step for p in told] == [2, 4, 6, 8, 10, 12]
  assert all(p.steps == 12 and p.tokens_per_second > 0 for p in told)
  assert told[0].seconds_left > 0 and told[-1].seconds_left == 0


def _damage(folder):
  """Flips bits in the middle of the largest file of a checkpoint."""
  path = max(
      (p for p in folder.rglob("*") if p.is_file()),
      key=lambda p: p.stat().st_size,
  )
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  data[middle : middle + 64] = bytes(
      255 - x for x in data[middle : middle + 64]
  )
  path.write_bytes(data)


def _in_two(folder):
  """Both checkpoints of a run that was to end early, then somewhat later."""
  for steps in (small.ROUND, small.ROUND + 4):
    loop.run(small.plan(steps=steps), folder)
  return sorted((int(p.name), p) for p in (folder / "checkpoints").iterdir())


def test_of_a_damaged_checkpoint_the_one_before_is_used(undisturbed, tmp_path):
  *_, (last, newest) = _in_two(tmp_path)
  _damage(newest)
  told = []
  found = loop.run(small.plan(), tmp_path, say=told.append)
  _same(found.state, undisturbed[1].state)
  assert len(told) == 1 and f"step {last}" in told[0]
  assert "not used" in told[0] and "\n" not in told[0]


@pytest.mark.slow
def test_whatever_file_is_damaged_a_run_goes_on(undisturbed, tmp_path):
  for number in range(100):
    folder = tmp_path / str(number)
    *_, (_, newest) = _in_two(folder)
    files = sorted(p for p in newest.rglob("*") if p.is_file())
    if number >= len(files):
      assert number > 5
      return
    files[number].write_bytes(b"")
    found = loop.run(small.plan(), folder)
    _same(found.state, undisturbed[1].state)


def test_a_run_is_of_one_process_at_a_time(tmp_path):
  descriptor = os.open(tmp_path, os.O_RDONLY)
  fcntl.flock(descriptor, fcntl.LOCK_EX)
  with pytest.raises(loop.Busy, match="another process is at this run"):
    loop.run(small.plan(), tmp_path)
  os.close(descriptor)
  assert loop.run(small.plan(), tmp_path)


@pytest.mark.slow
def test_if_all_are_damaged_it_says_so(tmp_path):
  for _, folder in _in_two(tmp_path):
    _damage(folder)
  told = []
  with pytest.raises(
      checkpoint.CheckpointError, match="got 2 that cannot"
  ) as error:
    loop.run(small.plan(), tmp_path, say=told.append)
  assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
  assert len(told) >= 2


def test_a_checkpoint_of_another_model_is_refused(undisturbed):
  folder, _ = undisturbed
  other = lambda: {"x": np.zeros(3, np.float32)}
  with pytest.raises(checkpoint.CheckpointError):
    loop.run(small.plan(parameters=other), folder)


def test_the_best_and_the_last_two_stay(tmp_path):
  losses = iter((5.0, 3.0, 1.0, 2.0, 4.0, 6.0))
  plan = small.plan(round=2, steps=10, judge=lambda _: {"loss": next(losses)})
  loop.run(plan, tmp_path)
  kept = checkpoint.Checkpoints(tmp_path / "checkpoints")
  assert kept.steps() == [4, 8, 10]
  like = step.start(plan.parameters(), plan.optimizer)
  assert kept.best(like).step == 4
  kept.close()


def test_a_loss_that_is_no_number_is_kept_and_never_the_best(tmp_path):
  losses = iter((5.0, 3.0, float("nan"), float("nan")))
  plan = small.plan(round=2, steps=6, judge=lambda _: {"loss": next(losses)})
  outcome = loop.run(plan, tmp_path)
  assert np.isnan(outcome.metrics[-1]["judged"]["loss"])
  kept = checkpoint.Checkpoints(tmp_path / "checkpoints")
  assert kept.steps() == [2, 4, 6]
  assert kept.best(step.start(plan.parameters(), plan.optimizer)).step == 2
  kept.close()


@pytest.mark.parametrize("field", ("steps", "round", "every"))
def test_a_run_of_no_steps_is_refused(field):
  with pytest.raises(ValueError, match=f"{field}: expected 1 or more, got 0"):
    small.plan(**{field: 0})


_PROGRAM = """
import pathlib, signal, sys
from lalm.training import loop
from tests.training import conftest as small
if sys.argv[2] == "full":
  import resource
  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  def limit(progress):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
else:
  def limit(progress):
    print(progress.step, flush=True)
try:
  loop.run(small.plan(), pathlib.Path(sys.argv[1]), progress=limit)
except OSError as error:
  sys.exit(f"{type(error).__name__}: {error}")
"""


def _process(folder, how):
  return subprocess.Popen(
      [sys.executable, "-c", _PROGRAM, str(folder), how],
      cwd=_ROOT,
      env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


@pytest.mark.parametrize("name", ("SIGKILL", _SLOW("SIGTERM")))
def test_a_killed_process_is_followed_by_one_that_goes_on(
    undisturbed, tmp_path, name
):
  with _process(tmp_path, "plain") as process:
    for line in process.stdout:
      if int(line) >= 8:
        process.send_signal(getattr(signal, name))
        break
    process.wait(60)
  with _process(tmp_path, "plain") as process:
    steps = [int(line) for line in process.stdout]
    assert process.wait(60) == 0, process.stderr.read()
  assert steps[0] > small.ROUND  # not from the beginning
  found = loop.run(small.plan(), tmp_path)
  _same(found.state.parameters, undisturbed[1].state.parameters)


@pytest.mark.slow
def test_on_a_full_disk_it_says_so_and_keeps_what_was(undisturbed, tmp_path):
  """Files cannot grow, as where no block is left."""
  loop.run(small.plan(steps=small.ROUND), tmp_path)
  with _process(tmp_path, "full") as process:
    _, error = process.communicate(timeout=120)
  assert process.returncode == 1, error
  last = error.strip().splitlines()[-1]
  assert last.startswith(("CheckpointError", "StoreError")), error
  assert str(tmp_path) in last
  found = loop.run(small.plan(), tmp_path)
  _same(found.state, undisturbed[1].state)
