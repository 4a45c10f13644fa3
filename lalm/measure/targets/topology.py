"""The devices of a machine that is not here, as its compiler knows them.

XLA's compilers for TPU and NVIDIA GPUs run on any CPU. They come with `jax`'s
own extras; nothing of the machine itself is asked for.
"""

import functools
import importlib
import importlib.metadata
import os
from typing import Any

import jax
from jax.experimental import topologies
import numpy as np

from lalm.measure import environment
from lalm.measure.targets import hardware

# What libtpu asks a TPU host for, where there is none.
_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5e-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # a chip is not shared, a compiler is
}
# JAX's plugin for CUDA looks for a driver, which a compiler does without.
_UNCHECKED = ("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
_PLUGIN = "jax_plugins.xla_cuda13"
# An H100 as XLA describes it (xla::GpuTargetConfig, NVIDIA H100 80GB HBM3).
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
  l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


# Packages that have the compilers of platforms.
_COMPILERS = {"tpu": "libtpu", "cuda": "jax-cuda13-plugin"}


class Missing(ImportError):
  """The compiler for a machine is not installed; names the extra."""


@functools.cache
def devices(name: str) -> tuple[Any, ...]:
  """Returns the devices of a machine, to be compiled for.

  Args:
    name: of the machine, as in `hardware`.

  Raises:
    ValueError: no such machine.
    Missing: its compiler is not installed.
  """
  machine = hardware.get(name)
  if machine.chip.platform == "tpu":
    for variable, value in _TPU.items():
      os.environ.setdefault(variable, value)
    options: dict[str, Any] = {"topology_name": machine.topology}
  else:
    options = {
        "topology_name": "",
        "target_config": _H100,
        "topology": machine.topology,
    }
    os.environ.setdefault(*_UNCHECKED)
  try:
    found = _described(machine.chip.platform, options)
  except Exception as error:  # whatever a plugin raises where it is missing
    extra = machine.chip.extra
    raise Missing(
        f"target {name}: its compiler does not start"
        f" ({type(error).__name__}: {str(error).splitlines()[0][:120]});"
        f' python3 -m pip install "lalm[{extra}]"'
    ) from error
  return tuple(found.devices)


def versions(name: str) -> dict[str, str]:
  """Versions of what decides a machine's programs, its compiler among them.

  Args:
    name: of the machine, as in `hardware`.
  """
  package = _COMPILERS[hardware.get(name).chip.platform]
  found = importlib.metadata.version(package)
  return {**environment.versions(), package: found}


def _described(platform: str, options: dict[str, Any]) -> Any:
  """The topology of a platform, whose plugin JAX may have refused before."""
  try:
    return topologies.get_topology_desc(platform=platform, **options)
  except NotImplementedError:
    if platform != "cuda":
      raise
  importlib.import_module(_PLUGIN).initialize()
  return topologies.get_topology_desc(platform=platform, **options)


def mesh(name: str, axis: str) -> jax.sharding.Mesh:
  """Returns the mesh of all devices of a machine, on one axis."""
  return jax.sharding.Mesh(np.array(devices(name)), (axis,))
