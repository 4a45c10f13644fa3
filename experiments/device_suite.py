"""All that is worth measuring on a machine with an accelerator.

  python3 -m experiments.device_suite [--config=FILE] [--out=DIR]
      [--budget_s=SECONDS] [--archive=FILE] [--help]

First whether every form is right there, then the laws of time and memory, what
is worth most first, each in DIR/<experiment>/<device>/ as its own command
leaves it. It ends within its seconds; the same command goes on from there.
FILE gets all results as one compressed tar.
"""

import importlib.util
import pathlib
import sys
import time

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# Module -> the package that has it; ml_collections needs PyYAML.
_NEEDED = {
    "absl": "absl-py",
    "jax": "jax",
    "ml_collections": "ml_collections",
    "numpy": "numpy",
    "scipy": "scipy",
    "yaml": "PyYAML",
}
_BRING = (
    "pip install {0}; or where there is no network: pip download --dest=WHEELS"
    " {0} elsewhere, bring that folder, pip install --no-index"
    " --find-links=WHEELS {0}"
)


def main(argv: list[str]) -> int:
  """Runs the suite; the exit status is that of `lalm.launch.command`."""
  absent = [n for n in _NEEDED if importlib.util.find_spec(n) is None]
  if absent:
    bring = _BRING.format(" ".join(_NEEDED[name] for name in absent))
    print(
        f"device_suite: {', '.join(absent)} missing: {bring}", file=sys.stderr
    )
    return 1
  # Imported here, for they need what may be missing.
  from lalm.launch import suite_command

  started = time.monotonic()
  return suite_command.run(argv, __doc__, _ROOT, started)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
