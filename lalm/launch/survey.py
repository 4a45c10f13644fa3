"""Which mechanisms, forms and device there are, asked in another process.

The catalogue and the device need JAX, which the sweep itself never imports; and
a user's own mechanism may do anything while it is imported. So

  python -m lalm.launch.survey TARGET CATALOGUE

reads {"mechanisms": [...]} from standard input, imports the measuring target
`module:ATTRIBUTE` and the catalogue's module, and answers with one event: the
forms of each mechanism and the target's `surroundings()`, or what was wrong.
"""

import importlib
import inspect
import json
import re
import sys
from typing import Any, Mapping, NamedTuple, Sequence

from lalm.launch import child
from lalm.launch.grid import Mechanism
from lalm.launch.schema import UsageError, Verbatim, one_line
from lalm.measure import worker

_TIME = 120.0  # seconds for all imports


class SweepError(Exception):
  """A sweep cannot go on, in one line."""


class Survey(NamedTuple):
  """The mechanisms asked for, in order, and the surroundings."""

  mechanisms: dict[str, Mechanism]
  environment: dict[str, Any]

  @property
  def device(self) -> str:
    """A folder's name for the device: `cpu-amd-epyc-2-cores`."""
    return slug(self.environment)


def ask(names: Sequence[str], target: str, catalogue: str) -> Survey:
  """Asks about mechanisms, `all` among them standing for the whole catalogue.

  Args:
    names: of the mechanisms.
    target: `module:ATTRIBUTE` of the measuring target; its `surroundings()`
      describe machine and versions, their `slug` names the device's folder.
    catalogue: module with `names()` and `get(name)`.

  Raises:
    UsageError: a mechanism is unknown or cannot be imported.
    SweepError: the process itself failed.
  """
  with child.Child(["lalm.launch.survey", target, catalogue]) as process:
    process.send({"mechanisms": list(names)})
    try:
      answer = process.read(_TIME)
    except child.Hung as error:
      raise SweepError(f"the imports of {target} hang: {error}") from None
    if answer is None:
      last = (process.errors() or [f"exit status {process.returncode}"])[-1]
      raise SweepError(f"cannot import {target}: {last}")
  if answer["event"] == "failed":
    raise SweepError(answer["reason"])
  if answer["event"] == "refused":
    got = Verbatim(f"{answer['name']!r}: {answer['reason']}")
    known = f"all, package.module:NAME or some of {', '.join(answer['known'])}"
    raise UsageError("--config.mechanisms", known, got)
  mechanisms = {
      name: Mechanism(forms, tuple(featured), *able)
      for name, (forms, featured, *able) in answer["mechanisms"].items()
  }
  return Survey(mechanisms, answer["environment"])


def slug(environment: Mapping[str, Any]) -> str:
  """The name of a device's folder: its `slug`, or else its kind."""
  words = environment.get("slug") or environment.get("device") or ""
  return re.sub(r"[^a-z0-9]+", "-", str(words).lower()).strip("-") or "device"


def _answer(arguments: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
  """The event for these names; whatever is imported may raise."""
  target = worker.load(arguments[0])
  catalogue = importlib.import_module(arguments[1])
  find = getattr(target, "elsewhere", None) or catalogue.get
  known = tuple(catalogue.names())
  mechanisms: dict[str, Any] = {}
  for name in [
      n for name in names for n in (known if name == "all" else [name])
  ]:
    try:
      mechanism = find(name)
      mechanisms[name] = _described(mechanism)
    except (Exception, SystemExit) as error:
      reason = one_line(f"{type(error).__name__}: {error}")[:300]
      return {
          "event": "refused",
          "name": name,
          "reason": reason,
          "known": known,
      }
  try:
    surroundings = target.surroundings()
  except ImportError as error:  # the compiler of a machine is not installed
    return {"event": "failed", "reason": one_line(str(error))}
  return {
      "event": "survey",
      "mechanisms": mechanisms,
      "environment": surroundings,
  }


def _described(mechanism: Any) -> tuple[Any, ...]:
  """Its forms, each with whether it takes a chunk, and what else is asked."""
  forms = {name: _chunked(form) for name, form in mechanism.forms.items()}
  featured = list(mechanism.featured) or list(forms)
  if not forms or not set(featured) <= set(forms):
    raise ValueError(
        f"featured: expected some of the forms {', '.join(forms) or '(none)'},"
        f" got {', '.join(map(str, featured)) or '(none)'}"
    )
  able = [bool(getattr(mechanism, name, True)) for name in ("causal", "full")]
  return forms, featured, *able


def _chunked(form: Any) -> bool:
  """Whether a form takes a chunk length."""
  try:
    return "chunk" in inspect.signature(form).parameters
  except (TypeError, ValueError):
    return False


def main(arguments: Sequence[str]) -> int:
  """Answers one question; returns the exit status."""
  channel = worker.Channel()
  names = json.loads(sys.stdin.readline())["mechanisms"]
  channel.send(_answer(arguments, names))
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
