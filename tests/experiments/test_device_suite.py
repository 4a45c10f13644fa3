"""The device suite: in order, within its seconds, resumed, packed."""

import importlib
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import tarfile
import time
import types

import pytest

from experiments import device_suite
from lalm.launch import flags as experiment_flags
from lalm.launch import schema
from lalm.launch import suite
from lalm.launch import suite_command

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = "--config=tests/experiments/small/suite.py"


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.device_suite", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def _records(path):
  """Experiment -> records, of an archive."""
  found = {}
  with tarfile.open(path) as packed:
    for member in packed:
      assert ".cache" not in member.name
      if member.name.endswith("records.jsonl"):
        lines = packed.extractfile(member).read().splitlines()
        found[member.name.split("/")[0]] = [json.loads(line) for line in lines]
  return found


def test_every_stage_is_measured_once_and_packed(tmp_path):
  archive = tmp_path / "all.tar.gz"
  given = (_SMALL, f"--out={tmp_path / 'out'}", f"--archive={archive}")
  done = _run(*given)
  assert done.returncode == 0, done.stderr
  found = _records(archive)
  assert {name: len(records) for name, records in found.items()} == {
      "correctness": 2, "attention_scaling": 4,
  }  # fmt: skip
  assert {r["status"] for records in found.values() for r in records} == {"ok"}
  told = [x for x in done.stderr.splitlines() if "at most" in x]
  assert [x.partition(":")[2].partition(":")[0].strip() for x in told] == [
      "correctness (correctness)",
      "attention_scaling (scaling, replicates=2)",
  ]
  # Correctness comes first.
  started = {name: min(r["started"] for r in found[name]) for name in found}
  assert started["correctness"] <= started["attention_scaling"]
  assert _run(*given).returncode == 0
  assert _records(archive) == found


def test_what_there_is_no_time_for_is_not_begun(tmp_path):
  archive = tmp_path / "all.tar.gz"
  done = _run(
      _SMALL, "--budget_s=30", f"--out={tmp_path}", f"--archive={archive}"
  )
  assert done.returncode == 0
  assert done.stderr.count("not begun") == 2
  assert _records(archive) == {}


def test_a_stage_that_fails_is_the_suites_failure(tmp_path):
  config = tmp_path / "suite.py"
  words = pathlib.Path(_ROOT / _SMALL.partition("=")[2]).read_text()
  small = "tests/experiments/small/scaling.py"
  assert small in words
  wrong = tmp_path / "wrong.py"
  wrong.write_text((_ROOT / small).read_text().replace("linear", "lunar"))
  config.write_text(words.replace(small, str(wrong)))
  done = _run(f"--config={config}", f"--out={tmp_path / 'out'}")
  assert done.returncode == 1 and "exit status 2" in done.stderr


def test_a_signal_ends_the_stage_and_packs_what_there_is(tmp_path):
  archive = tmp_path / "all.tar.gz"
  process = subprocess.Popen(
      [sys.executable, "-m", "experiments.device_suite", _SMALL]
      + [f"--out={tmp_path / 'out'}", f"--archive={archive}"],
      cwd=_ROOT,
      stderr=subprocess.PIPE,
      text=True,
  )
  said = process.stderr.readline()  # the first stage has been begun
  process.send_signal(signal.SIGTERM)
  _, rest = process.communicate()
  assert process.returncode == 128 + signal.SIGTERM
  assert said.startswith("device_suite: correctness (correctness)")
  assert "SIGTERM; what is recorded stays" in rest and archive.exists()


@pytest.mark.slow
def test_what_stages_have_measured_is_packed_before_the_end(tmp_path):
  archive = tmp_path / "all.tar.gz"
  with subprocess.Popen(
      [sys.executable, "-m", "experiments.device_suite", _SMALL]
      + [f"--out={tmp_path / 'out'}", f"--archive={archive}"],
      cwd=_ROOT,
      stderr=subprocess.PIPE,
      text=True,
  ) as process:
    while "files in" not in process.stderr.readline():
      pass
    assert set(_records(archive)) == {"correctness"}
    process.send_signal(signal.SIGTERM)
    process.stderr.read()


def test_an_archive_that_fails_costs_no_stage(tmp_path, monkeypatch, capsys):
  def full(*_):
    raise OSError(28, "No space left on device")

  begun = []

  def run(stages, out, deadline, say, root, ended):
    for stage in stages:
      begun.append(stage.experiment)
      ended()
    return []

  monkeypatch.setattr(suite, "archive", full)
  monkeypatch.setattr(suite, "run", run)
  given = [f"--out={tmp_path / 'out'}", f"--archive={tmp_path / 'a.tgz'}"]
  config = str(_ROOT / _SMALL.partition("=")[2])
  argv = ["device_suite", f"--config={config}", *given]
  assert suite_command.run(argv, "", _ROOT, time.monotonic()) == 1
  assert begun == ["correctness", "attention_scaling"]
  assert "no archive: [Errno 28] No space left" in capsys.readouterr().err


def _begun(tmp_path):
  """A suite whose first stage has been begun."""
  process = subprocess.Popen(
      [sys.executable, "-m", "experiments.device_suite", _SMALL]
      + [f"--out={tmp_path}"],
      cwd=_ROOT,
      stderr=subprocess.PIPE,
      text=True,
  )
  assert "at most" in process.stderr.readline()
  return process


@pytest.mark.skipif(sys.platform != "linux", reason="processes are tied there")
def test_a_suite_that_is_killed_takes_its_stage_with_it(tmp_path):
  with _begun(tmp_path) as process:
    process.kill()
    process.stderr.read()  # until its stage, which writes there too, has ended
  assert not list(tmp_path.rglob("table.md"))


def test_a_second_suite_in_a_folder_is_refused(tmp_path):
  with _begun(tmp_path) as process:
    second = _run(_SMALL, f"--out={tmp_path}")
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
  assert second.returncode == 1
  assert second.stderr == f"device_suite: another suite runs in {tmp_path}\n"
  with suite.alone(tmp_path):  # it is free again
    pass


def test_a_process_that_does_not_end_is_killed():
  words = "import signal, time; signal.signal(15, signal.SIG_IGN); "
  words += "print(flush=True); time.sleep(600)"
  with subprocess.Popen(
      [sys.executable, "-c", words], stdout=subprocess.PIPE
  ) as deaf:
    deaf.stdout.readline()  # it ignores the signal by now
    suite._end([deaf], 0.1)
    assert deaf.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((0, 0), 0),
        ((0, -15), 143),
        ((1, -15), 1),
        ((143, -9), 137),
        ((2, 0), 2),
        ((1, None), 1),
    ],
)
def test_the_worst_status_of_processes_is_the_stages(codes, expected):
  done = [
      types.SimpleNamespace(returncode=c, poll=lambda c=c: c) for c in codes
  ]
  assert suite._wait(done, 0.0) == expected


def test_another_device_is_refused(tmp_path):
  done = _run(f"--out={tmp_path}", "--budget_s=60")
  assert done.returncode == 1
  assert "expected a gpu or tpu, jax finds a cpu" in done.stderr


def test_a_stage_with_fewer_workers_comes_before_any_with_all():
  config = experiment_flags.load(str(_ROOT / "configs" / "device_suite.py"))
  _, stages = suite_command._stages(config, _ROOT)
  timed = [s for s in stages if s.workers == 1]
  few = [s for s in timed if "replicates=2" in s.fields]
  assert len(few) == 4 and timed[:4] == few
  assert all(s.fields == () for s in timed[4:])
  assert [s[:3] for s in few] == [s[:3] for s in timed[4:8]]
  # Whether it is right comes first: what is causal, and what sees all.
  assert [s.fields[:-1] for s in stages[:2]] == [(), ("causal=False",)]
  assert {s.experiment for s in stages[:2]} == {"correctness"}


def test_no_stage_takes_what_the_others_need_at_first():
  config = experiment_flags.load(str(_ROOT / "configs" / "device_suite.py"))
  _, stages = suite_command._stages(config, _ROOT)
  first = stages[:6]
  assert sum(s.most for s in first[:5]) <= 470  # of 520, three timed
  assert all(s.most < 120 for s in first)
  # What was cut short goes on after all have begun, in the same order.
  whole = [s for s in stages[6:] if s.experiment != "chunk_sizes"]
  assert [s[:3] for s in whole[:6]] == [s[:3] for s in first]
  assert all(s.most == float("inf") for s in whole)


def test_a_stage_gets_its_own_seconds_or_what_is_left(tmp_path, monkeypatch):
  told = []

  def process(command, **_):
    told.append([x for x in command if "budget" in x][-1])
    return subprocess.Popen(["true"])

  monkeypatch.setattr(suite.subprocess, "Popen", _popen(process))
  stages = [
      suite.Stage("a", "c", 1, ("budget=50",)),
      suite.Stage("b", "c", 1, ("budget=500",)),
      suite.Stage("c", "c"),
  ]
  deadline = time.monotonic() + 200
  suite.run(stages, tmp_path, deadline, lambda _: None, _ROOT)
  seconds = [float(x.partition("budget=")[2]) for x in told]
  assert seconds[0] == 50 and all(165 <= s <= 175 for s in seconds[1:])


def _popen(stand_in):
  """`Popen` that a stand-in answers, but for what that starts itself."""
  real = subprocess.Popen

  def start(command, **options):
    if command == ["true"]:
      return real(command)
    return stand_in(command, **options)

  return start


def test_the_fields_of_every_stage_are_its_experiments():
  config = experiment_flags.load(str(_ROOT / "configs" / "device_suite.py"))
  for stage in suite_command._stages(config, _ROOT)[1]:
    module = importlib.import_module(f"experiments.{stage.experiment}")
    given = [f"--config.{field}" for field in stage.fields]
    experiment_flags.parse(
        [stage.experiment, f"--config={stage.config}", *given],
        config=str(module.EXPERIMENT.config),
        out="runs",
        fields=module.EXPERIMENT.all_fields,
    )


@pytest.mark.parametrize(
    "wrong", [("correctness", "f"), ("correctness", "f", 0),
              ("correctness", "f", 1, "causal"), ("correctness", "f", 1, 2)]
)  # fmt: skip
def test_a_stage_that_cannot_be_read_is_named(wrong):
  with pytest.raises(schema.UsageError, match="stages: expected tuples"):
    suite_command._stages({"devices": ("gpu",), "stages": (wrong,)}, _ROOT)


def test_a_stage_of_odd_seconds_is_named():
  wrong = ("correctness", "configs/correctness.py", 1, "budget=soon")
  with pytest.raises(schema.UsageError, match="stages: expected budget=SEC"):
    suite_command._stages({"devices": ("gpu",), "stages": (wrong,)}, _ROOT)


def test_an_archive_that_cannot_be_written_leaves_nothing(
    tmp_path, monkeypatch
):
  def full(path, content):
    path.touch()
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_bytes", full)
  with pytest.raises(OSError, match="No space"):
    suite.archive(tmp_path, tmp_path / "a.tgz", set())
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--budget_s=soon", "--budget_s: expected a number of seconds"),
        ("--budget_s=-1", "--budget_s: expected a number of seconds"),
        ("--archive=", "--archive: expected a file"),
        ("--archive=.", "--archive: expected a file, no folder"),
        ("--archive=/dev/null", "--archive: expected a file, no folder"),
        ("--archive=setup.cfg/sub/a.tgz", "--archive: expected a folder that"),
        ("--budget=3", "--budget: expected one of"),
        ("stray", "got 'stray'"),
        ("--config=absent.py", "--config: expected a Python file"),
        ("--out=setup.cfg", "--out: expected a folder"),
        ("--config=configs/stand_ins.py", "--config: expected the fields"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_named(argument, words):
  done = _run(argument)
  assert done.returncode == 2 and "Traceback" not in done.stderr
  assert words in done.stderr


def test_help_says_what_it_does():
  done = _run("--help")
  assert done.returncode == 0 and "--budget_s=SECONDS" in done.stdout


def test_what_is_missing_is_named_with_how_to_bring_it(monkeypatch, capsys):
  find = importlib.util.find_spec
  monkeypatch.setattr(
      importlib.util,
      "find_spec",
      lambda name, *a: None if name == "ml_collections" else find(name, *a),
  )
  assert device_suite.main(["device_suite"]) == 1
  said = capsys.readouterr().err
  assert "ml_collections missing: pip install ml_collections" in said
  assert "pip download" in said
  monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
  assert device_suite.main(["device_suite"]) == 1
  assert "PyYAML" in capsys.readouterr().err
