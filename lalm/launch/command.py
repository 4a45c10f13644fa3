"""An experiment's command: from its arguments to an exit status.

0         all is measured, or was before
1         some point has failed, or the sweep could not go on
2         the command line cannot be used
128 + n   signal n came; the same command goes on from there
"""

import json
import os
import pathlib
import sys
import time
import types
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from lalm import units
from lalm.launch import budget
from lalm.launch import flags
from lalm.launch import foresight
from lalm.launch import grid
from lalm.launch import ledger
from lalm.launch import planning
from lalm.launch import schema
from lalm.launch import signals
from lalm.launch import supervisor
from lalm.launch import survey


class Experiment(NamedTuple):
  """A sweep that can be asked for from a command line.

  Attributes:
    name: of the experiment, as in `configs/`, `experiments/` and `results/`.
    summary: what it finds out, in a line.
    config: the configuration file where none is given.
    target: `package.module:ATTRIBUTE` that plans and measures points and tells
      its surroundings.
    catalogue: module with `names()` and `get(name)`.
    finish: called with the device's folder when all is recorded, one process
      at a time; writes what follows from the records.
    progress: called after each point.
    fields: of the configuration, beside those of every sweep.
    fixed: fields of the configuration that have no other value.
    compiled: module of `lalm.measure.targets` that compiles its points for
      machines not at hand, where that is possible.
    fewest: forms at hand, with fewer of which a mechanism is left out unless
      forms are asked for: what compares them has nothing to say of it.
    corpora: names of texts that are no paths.
  """

  name: str
  summary: str
  config: pathlib.Path
  target: str
  catalogue: str
  finish: Callable[[pathlib.Path], None]
  progress: Callable[[foresight.Progress], None] = lambda _: None
  fields: schema.Fields = types.MappingProxyType({})
  fixed: Mapping[str, Any] = types.MappingProxyType({})
  compiled: str = ""
  fewest: int = 1
  corpora: Sequence[str] = ("", "news", "normal")

  @property
  def all_fields(self) -> schema.Fields:
    """The fields of its configuration; fixed ones need not be given."""
    targets = schema.TARGETS if self.compiled else {}
    fields = {**schema.FIELDS, **targets, **self.fields}
    for name, value in self.fixed.items():
      fields[name] = fields[name]._replace(default=value)
    return fields


def run(argv: Sequence[str], experiment: Experiment) -> int:
  """Runs the experiment as its arguments say; returns the exit status."""
  try:
    if flags.help_wanted(argv):
      config = str(experiment.config)
      text = flags.help_text(experiment.summary, config, experiment.all_fields)
      print(text)
      status = 0
    else:
      with signals.interruptible():
        status = _run(argv, experiment)
    sys.stdout.flush()  # here, where it is known what to do if nobody reads
    return status
  except schema.UsageError as error:
    _say(experiment, str(error))
    return 2
  except signals.Interrupted as signal:
    _say(experiment, f"{signal}; what is recorded stays, run it again to go on")
    return 128 + signal.number
  except BrokenPipeError:
    # Nobody reads what is printed; keep the interpreter from trying again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
  except (survey.SweepError, OSError) as error:
    _say(experiment, schema.one_line(str(error)))
    return 1


def _say(experiment: Experiment, text: str) -> None:
  print(f"{experiment.name}: {text}", file=sys.stderr, flush=True)


def _run(argv: Sequence[str], experiment: Experiment) -> int:
  started = time.monotonic()
  request = flags.parse(
      argv,
      config=str(experiment.config),
      out=str(pathlib.Path("runs") / experiment.name),
      fields=experiment.all_fields,
      corpora=experiment.corpora,
  )
  settings = request.settings
  for name, value in experiment.fixed.items():
    if settings[name] != value:
      raise schema.UsageError(
          f"--config.{name}", schema.shown(value), settings[name]
      )
  flags.check_out(request.out, create=False)
  deadline = started + settings["budget"]
  status = 0
  for name in settings.get("target", (schema.LOCAL,)):
    one = settings | {"target": name} if experiment.compiled else settings
    asked = request._replace(settings=one)
    status = max(status, _sweep(experiment, asked, deadline))
  return status


def _sweep(
    experiment: Experiment, request: flags.Request, deadline: float
) -> int:
  """Runs the experiment on one target; returns the exit status."""
  settings, target = request.settings, experiment.target
  if settings.get("target", schema.LOCAL) != schema.LOCAL:
    target = f"{experiment.compiled}:{target}@{settings['target']}"
    settings = settings | {"replicates": 1}  # a compiler says the same again
  found = survey.ask(settings["mechanisms"], target, experiment.catalogue)
  mechanisms = _comparable(experiment, settings, found.mechanisms)
  points = grid.points(settings, mechanisms, experiment.all_fields)
  points = grid.share(points, request.worker)
  flags.check_out(request.out, create=not request.dry_run)
  machine = str(found.environment.get("machine", ""))
  plans = planning.plan(points, settings, target, machine)
  folder = request.out / found.device
  records = ledger.Ledger(folder)
  for line in records.damage:
    _say(experiment, line)
  sweep = supervisor.Supervisor(
      plans,
      settings,
      records,
      experiment=experiment.name,
      target=target,
      environment=found.environment,
      deadline=deadline,
      progress=experiment.progress,
  )
  if request.dry_run:
    print(describe(plans, settings, sweep))
    return 0
  _measure(experiment, settings, found, folder, sweep)
  return _conclude(experiment, folder, sweep)


def _comparable(
    experiment: Experiment,
    settings: schema.Settings,
    mechanisms: Mapping[str, grid.Mechanism],
) -> dict[str, grid.Mechanism]:
  """The mechanisms with as many forms as the experiment is of."""
  kept = {
      name: mechanism
      for name, mechanism in mechanisms.items()
      if settings["forms"] or len(mechanism.forms) >= experiment.fewest
  }
  alone = [name for name in mechanisms if name not in kept]
  if alone:
    forms = sorted({form for name in alone for form in mechanisms[name].forms})
    which = f"{', '.join(alone)}: only {', '.join(forms)} is at hand"
    _say(experiment, f"left out, for there is nothing beside: {which}")
  return kept


def _measure(
    experiment: Experiment,
    settings: schema.Settings,
    found: survey.Survey,
    folder: pathlib.Path,
    sweep: supervisor.Supervisor,
) -> None:
  """Measures what there is to measure, and records where."""
  ledger.write_json(
      folder / "config.json", {"experiment": experiment.name, **settings}
  )
  if not _readable(folder / "environment.json"):  # no worker may ever be ready
    ledger.write_json(folder / "environment.json", found.environment)

  def ready(announced: Mapping[str, Any]) -> None:
    surroundings = announced.get("environment") or found.environment
    ledger.write_json(folder / "environment.json", surroundings)

  sweep.run(ready)


def _readable(path: pathlib.Path) -> bool:
  try:
    return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
  except (OSError, ValueError):
    return False


def _conclude(
    experiment: Experiment, folder: pathlib.Path, sweep: supervisor.Supervisor
) -> int:
  """Writes what follows from the records; the exit status."""
  if (folder / "records.jsonl").exists():  # a share may be without points
    with ledger.exclusive(folder):
      experiment.finish(folder)
  lines = [*sweep.failures.lines(), *sweep.interrupted]
  for line in lines:
    _say(experiment, line)
  return 1 if lines else 0


def describe(
    plans: Sequence[budget.Plan],
    settings: schema.Settings,
    sweep: supervisor.Supervisor,
) -> str:
  """The points, what each is predicted to cost, and what would become of it."""
  replicates = settings["replicates"]
  decisions = sweep.outlook()
  rows = [("point", "seconds a call", "memory", "done", "what")]
  total = 0.0
  for index, (made, decision) in enumerate(zip(plans, decisions)):
    done = sweep.done(index)
    if decision.action == "measure":
      total += made.cost(sweep.point_budget, sweep.visits(index))
    rows.append(
        (
            grid.label(made.point),
            f"{made.seconds:.3g}",
            units.size(made.bytes),
            f"{done}/{replicates}",
            ": ".join(filter(None, decision)),
        )
    )
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  lines = [
      "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
      for row in rows
  ]
  count = sum(decision.action == "measure" for decision in decisions)
  lines.append(
      f"{len(plans)} points, {count} to measure, about {total:.0f} s in "
      f"{replicates} replicates"
  )
  return "\n".join(lines)
