"""The suite's command: from its arguments to an exit status.

As an experiment's (`lalm.launch.command`): 0 where all that was begun went
well, 1 where a stage has failed, 2 for a command line that cannot be used,
128 + n after signal n. That time was short is no failure.
"""

import functools
import math
import os
import pathlib
import sys
import time
from typing import Any, NamedTuple, Sequence

from absl import flags

from lalm.launch import flags as experiment_flags
from lalm.launch import schema
from lalm.launch import signals
from lalm.launch import suite
from lalm.launch import survey
from lalm.launch.schema import UsageError, Verbatim

_NAME = "device_suite"
_OWN = "--config=FILE, --out=DIR, --budget_s=SECONDS, --archive=FILE, --help"
_TARGET = "lalm.measure.gate:TARGET"  # tells of the device at hand
_CATALOGUE = "lalm.attention.catalogue"


class _Request(NamedTuple):
  """What is asked for."""

  devices: tuple[str, ...]
  stages: tuple[suite.Stage, ...]
  out: pathlib.Path
  budget: float
  archive: pathlib.Path | None


def run(
    argv: Sequence[str], text: str, root: pathlib.Path, started: float
) -> int:
  """Runs the suite as its arguments say; returns the exit status.

  Args:
    argv: the program's name and its arguments.
    text: printed for --help.
    root: the folder of `configs` and `experiments`.
    started: on the monotonic clock, when its seconds began.
  """
  try:
    if experiment_flags.help_wanted(argv):
      print(text.strip())
      return 0
    request = _parse(argv, root)
    with signals.interruptible(), suite.alone(request.out):
      return _run(request, root, started)
  except UsageError as error:
    _say(str(error))
    return 2
  except signals.Interrupted as signal:
    _say(f"{signal}; what is recorded stays, run it again to go on")
    return 128 + signal.number
  except (survey.SweepError, OSError) as error:
    _say(schema.one_line(str(error)))
    return 1


def _say(line: str) -> None:
  print(f"{_NAME}: {line}", file=sys.stderr, flush=True)


def _run(request: _Request, root: pathlib.Path, started: float) -> int:
  found = survey.ask((), _TARGET, _CATALOGUE).environment
  device = str(found.get("device"))
  if device not in request.devices:
    kinds = " or ".join(request.devices)
    raise survey.SweepError(f"expected a {kinds}, jax finds a {device}")
  stages = request.stages
  if device == "tpu":  # which one process holds at a time
    stages = tuple(stage._replace(workers=1) for stage in stages)
  deadline = started + request.budget

  pack = functools.partial(_pack, request, stages)
  outcomes: list[suite.Outcome] = []
  packed = False
  try:  # after each stage, for what ends this process may not let it pack
    outcomes += suite.run(stages, request.out, deadline, _say, root, pack)
  finally:
    packed = pack()
  _say(f"{time.monotonic() - started:.0f} s of {request.budget:.0f} s")
  return int(any(outcome.failed for outcome in outcomes) or not packed)


def _pack(request: _Request, stages: Sequence[suite.Stage]) -> bool:
  """Writes the archive, if one is asked for; returns whether that went well.

  A full disk must not cost the stages that are still to come.
  """
  if request.archive is None:
    return True
  names = {stage.experiment for stage in stages}
  try:
    count = suite.archive(request.out, request.archive, names)
  except OSError as error:
    _say(f"no archive: {schema.one_line(str(error))}")
    return False
  _say(f"{count} files in {request.archive}")
  return True


def _parse(argv: Sequence[str], root: pathlib.Path) -> _Request:
  """Reads the command line and the configuration's stages."""
  values = flags.FlagValues()
  values.set_gnu_getopt(True)
  config = str(root / "configs" / f"{_NAME}.py")
  flags.DEFINE_string("config", config, "", flag_values=values)
  flags.DEFINE_string("out", "runs", "", flag_values=values)
  flags.DEFINE_string("budget_s", "520", "", flag_values=values)
  flags.DEFINE_string("archive", None, "", flag_values=values)
  try:
    rest = values(list(argv))[1:]
  except flags.UnrecognizedFlagError as error:
    unknown = Verbatim("an unknown flag")
    raise UsageError(f"--{error.flagname}", f"one of {_OWN}", unknown) from None
  except flags.Error as error:
    text = Verbatim(schema.one_line(str(error)))
    raise UsageError("arguments", _OWN, text) from None
  if rest:
    raise UsageError("arguments", _OWN, rest[0])
  devices, stages = _stages(experiment_flags.load(values.config), root)
  experiment_flags.check_out(pathlib.Path(values.out), create=True)
  archive = _archive(values.archive)
  # The stages run where their modules are, wherever this command was given.
  out = pathlib.Path(os.path.abspath(values.out))
  return _Request(devices, stages, out, _seconds(values.budget_s), archive)


def _archive(text: str | None) -> pathlib.Path | None:
  """The archive's path, in a folder that can be written."""
  if text is None:
    return None
  if not text:
    raise UsageError("--archive", "a file", text)
  path = pathlib.Path(os.path.abspath(text))
  if path.exists() and not path.is_file():
    raise UsageError("--archive", "a file, no folder and no device", text)
  experiment_flags.check_out(path.parent, create=True, flag="--archive")
  return path


def _seconds(text: str) -> float:
  try:
    seconds = float(text)
  except ValueError:
    seconds = math.nan
  if not 0 < seconds < math.inf:
    raise UsageError("--budget_s", "a number of seconds greater than 0", text)
  return seconds


def _stage(given: Sequence[Any]) -> suite.Stage:
  """A stage as a configuration has it, of whatever names."""
  expected = "tuples (experiment, config file, processes, FIELD=VALUE, ...)"
  if len(given) < 3 or not isinstance(given[2], int) or given[2] < 1:
    raise UsageError("stages", expected, given)
  experiment, config, workers, *more = given
  if not all(isinstance(field, str) and "=" in field for field in more):
    raise UsageError("stages", expected, given)
  stage = suite.Stage(experiment, config, workers, tuple(more))
  try:
    stage.most
  except ValueError:
    raise UsageError("stages", "budget=SECONDS", given) from None
  return stage


def _stages(
    fields: Any, root: pathlib.Path
) -> tuple[tuple[str, ...], tuple[suite.Stage, ...]]:
  """Devices and stages of a configuration, checked."""
  known = sorted(p.stem for p in (root / "experiments").glob("[a-z]*.py"))
  stages = []
  for given in fields.get("stages") or ():
    stage = _stage(given)
    if stage.experiment not in known:
      raise UsageError("stages", f"some of {', '.join(known)}", given[0])
    if not (root / stage.config).is_file():
      raise UsageError("stages", "a config file that is there", given[1])
    stages.append(stage._replace(config=str(root / stage.config)))
  devices = tuple(fields.get("devices") or ())
  if not stages or not devices:
    raise UsageError("--config", "the fields devices and stages", "neither")
  return devices, tuple(stages)
