"""What every point would cost, asked of a worker before any is measured."""

import contextlib
import hashlib
import json
from typing import Any, Sequence

from lalm.launch import conversation
from lalm.launch import grid
from lalm.launch.budget import CALLS, Plan
from lalm.launch.schema import Settings


def worker_settings(
    settings: Settings, point_budget: float, cache: str | None, gate: bool
) -> dict[str, Any]:
  """What a worker is told beside its points."""
  return {
      "point_budget": point_budget,
      "cache": cache,
      "seed": settings["seed"],
      "gate": gate,
  }


def plan(
    points: Sequence[grid.Point], settings: Settings, target: str, machine: str
) -> list[Plan]:
  """Asks a worker for key, memory and seconds of every point.

  A point that cannot be planned gets a key from its fields and the machine's
  fingerprint, for its failure is recorded too.

  Raises:
    SweepError: workers die before the first point.
  """
  plans: dict[int, Plan] = {}
  job = conversation.Job(
      target=target,
      task="plan",
      points=points,
      replicate=0,
      settings=worker_settings(settings, settings["point_budget"], None, True),
      limits=[settings["allowance"]] * len(points),
      allowance=settings["allowance"],
      deadline=float("inf"),
      surveyed={},  # those that measure tell where they are
  )
  order = range(len(points))
  answers = conversation.converse(job, order, lambda index: True)
  with contextlib.closing(answers):
    for answer in answers:
      point, fields = points[answer.position], answer.fields
      if "status" in fields or not isinstance(fields.get("key"), str):
        status = fields.get("status", "crashed")
        reason = fields.get("reason", "no key was planned")
        made = Plan(point, _key(point, machine), failure=(status, reason))
      else:
        made = Plan(
            point,
            fields["key"],
            bytes=fields.get("bytes"),
            seconds=fields.get("seconds") or 0.0,
            repeats=fields.get("repeats") or CALLS,
            resumable=bool(fields.get("resumable")),
        )
      plans[answer.position] = made
  return [plans[index] for index in order]


def _key(point: grid.Point, machine: str) -> str:
  text = json.dumps([point, machine], sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
