"""Machines by name: their chips, published peaks and how they are compiled for.

Peaks are those of one chip. Sources: NVIDIA, "NVIDIA H100 Tensor Core GPU
Datasheet" (SXM, dense rates) and Hopper whitepaper; Google Cloud, "TPU v5e",
"TPU v5p", "TPU v6e" (system architecture). Links are one direction
of what is published for both, all links of a chip together.
"""

from typing import NamedTuple

from lalm.measure import kinds


class Chip(NamedTuple):
  """One kind of accelerator.

  Attributes:
    platform: of XLA: "cuda" or "tpu".
    memory: bytes that programs may use: of TPUs what their compilers allow,
      which is less than the chip has; of GPUs what their driver shows.
    products: operations (2mnk a product) a second, by kind, as in
      `measure.kinds`: float32 by default is TensorFloat-32 on GPUs and one
      pass of bfloat16 on TPUs.
    bandwidth: bytes a second to and from its memory.
    links: bytes a second it can send to others.
    clock: cycles a second of what its compiler counts cycles of; None where
      it counts none.
    extra: of this package, which installs its compiler.
  """

  platform: str
  memory: float
  products: dict[str, float]
  bandwidth: float
  links: float
  clock: float | None
  extra: str


class Machine(NamedTuple):
  """Chips that work together.

  Attributes:
    name: as it is asked for.
    chip: the kind of its chips.
    devices: how many.
    topology: as XLA calls their arrangement.
  """

  name: str
  chip: Chip
  devices: int
  topology: str


def _tpu(
    memory: float, tflops: float, bandwidth: float, links: float, units: int
) -> Chip:
  """A TPU chip of so many multipliers.

  Each makes two operations a cycle, which gives the clock. float32 products are
  six of bfloat16 at HIGHEST precision, three at HIGH.
  """
  rate = tflops * 1e12
  products = {
      "int8": 2 * rate,
      "bfloat16": rate,
      kinds.FAST: rate,
      kinds.HIGH: rate / 3,
      "float32": rate / 6,
  }
  clock = rate / (2 * units)
  return Chip("tpu", memory, products, bandwidth, links, clock, "tpu")


_H100 = Chip(
    "cuda",
    84_942_979_072,
    {
        "int8": 1978.9e12,
        "float8_e4m3fn": 1978.9e12,
        "float8_e5m2": 1978.9e12,
        "bfloat16": 989.4e12,
        "float16": 989.4e12,
        kinds.FAST: 494.7e12,
        kinds.HIGH: 494.7e12,
        "float32": 66.9e12,
        "float64": 66.9e12,
    },
    3.35e12,
    450e9,
    None,
    "cuda",
)
_SMALL, _LARGE = 128 * 128, 256 * 256  # multipliers of a matrix unit
_V5E = _tpu(15.75 * 2**30, 197, 819e9, 200e9, 4 * _SMALL)
_V5P = _tpu(95.74 * 2**30, 459, 2765e9, 600e9, 8 * _SMALL)
_V6E = _tpu(31.25 * 2**30, 918, 1640e9, 400e9, 4 * _LARGE)

MACHINES = {
    machine.name: machine
    for machine in (
        Machine("h100", _H100, 1, "1x1x1"),
        Machine("h100x2", _H100, 2, "1x1x2"),
        Machine("h100x4", _H100, 4, "1x1x4"),
        Machine("h100x8", _H100, 8, "1x1x8"),
        Machine("tpu-v5e-2x2", _V5E, 4, "v5e:2x2"),
        Machine("tpu-v5e-4x4", _V5E, 16, "v5e:4x4"),
        Machine("tpu-v5e-8x8", _V5E, 64, "v5e:8x8"),
        Machine("tpu-v5e-16x16", _V5E, 256, "v5e:16x16"),
        Machine("tpu-v5p-2x2x1", _V5P, 4, "v5p:2x2x1"),
        Machine("tpu-v5p-8x8x8", _V5P, 512, "v5p:8x8x8"),
        Machine("tpu-v6e-2x2", _V6E, 4, "v6e:2x2"),
        Machine("tpu-v6e-16x16", _V6E, 256, "v6e:16x16"),
    )
}


def get(name: str) -> Machine:
  """Returns a machine by its name.

  Raises:
    ValueError: no such machine; names those there are.
  """
  if not isinstance(name, str) or name not in MACHINES:
    raise ValueError(f"target: expected {', '.join(MACHINES)}; got {name!r}")
  return MACHINES[name]
