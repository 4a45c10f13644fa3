"""Where a measurement was made: versions, settings, machine.

Nothing here names a user, a path or a host: paths in settings are blanked, and
the host is an irreversible hash. What changes the numbers of a machine (model
and number of processors, memory, device, host, compiler flags, allocator) goes
into its `fingerprint`; measurements of different fingerprints share no fit. An
accelerator's numbers are its own and its driver's, whatever host it is lent
with: a sweep goes on at the next one of its kind.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import secrets
import subprocess
from typing import Any, Mapping

import jax

import lalm

PROCESS = secrets.token_hex(4)  # tells this one from others
_VERSIONED = ("jax", "jaxlib", "numpy")
_SETTINGS = re.compile(
    r"^(XLA_FLAGS|LIBTPU_INIT_ARGS|XLA_PYTHON_CLIENT_\w+|TF_GPU_ALLOCATOR"
    r"|GLIBC_TUNABLES|MALLOC_\w+|LD_PRELOAD"
    r"|(OMP|MKL|OPENBLAS)_NUM_THREADS|NPROC|JAX_ENABLE_X64"
    r"|JAX_DEFAULT_MATMUL_PRECISION)$"
)
_PATH = re.compile(r"(^|[=\s,:])[/~][^\s,:]*")
# Of the host of an accelerator: not the same at each loan, and not what counts.
_HOSTS = ("cores", "memory_gib", "host")
# Packages with the compiler of a platform; jaxlib has the CPU's.
_COMPILERS = {
    "gpu": ("jax-cuda12-pjrt", "jax-cuda13-pjrt", "jax-rocm7-pjrt"),
    "tpu": ("libtpu",),
}
_SALT = b"lalm host"


def versions() -> dict[str, str]:
  """Versions of Python and of the libraries that decide the numbers."""
  found = {name: importlib.metadata.version(name) for name in _VERSIONED}
  return {"python": platform.python_version(), **found}


def settings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
  """Flags of the compiler, the allocator and the threads, by variable.

  Args:
    variables: the environment to read them from.
  """
  return {
      name: _PATH.sub(r"\1<path>", variables[name])
      for name in sorted(variables)
      if _SETTINGS.match(name) and variables[name]
  }


def machine() -> dict[str, Any]:
  """Processor, memory and device, as far as the system tells."""
  device = jax.devices()[0]
  return {
      "system": platform.system(),
      "architecture": platform.machine(),
      "model": _model(),
      "cores": cores(),
      "memory_gib": _memory_gib(),
      "device": jax.default_backend(),
      "device_kind": device.device_kind,
      "device_count": jax.device_count(),
      "huge_pages": _huge_pages(),
      "host": _host(),
  }


def fingerprint() -> str:
  """12 hexadecimal digits that tell machines and their settings apart."""
  found = machine()
  if found["device"] != "cpu":
    kept = {name: x for name, x in found.items() if name not in _HOSTS}
    found = kept | {"runtime": runtime()}
  text = json.dumps([found, settings()], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def runtime() -> dict[str, str]:
  """Versions of an accelerator's compiler and driver, where they are told."""
  device = jax.devices()[0]
  found = {"platform": device.client.platform_version}
  for package in _COMPILERS.get(device.platform, ()):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  if device.platform == "gpu":
    found["driver"] = _read("/proc/driver/nvidia/version").partition("\n")[0]
  return found


def slug() -> str:
  """The name of this machine's folder of results: `cpu-amd-epyc-2-cores`."""
  found = machine()
  if found["device"] == "cpu":
    words = f"cpu {found['model']} {found['cores']} cores"
  else:
    words = f"{found['device']} {found['device_kind']}"
  words = re.sub(r"\((r|tm)\)|\b(processor|cpu @.*ghz)\b", "", words.lower())
  return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def describe() -> dict[str, Any]:
  """All of it, ready for JSON."""
  found = machine()
  return {
      "machine": fingerprint(),
      "slug": slug(),
      "versions": versions(),
      "settings": settings(),
      "revision": revision(),
      **({} if found["device"] == "cpu" else {"runtime": runtime()}),
      **found,
  }


def revision() -> str | None:
  """The git revision of this code, "+" if it was changed; None if unknown."""
  root = pathlib.Path(lalm.__file__).resolve().parents[1]
  top = _git(root, "rev-parse", "--show-toplevel")
  head = _git(root, "rev-parse", "HEAD")
  if top is None or head is None or pathlib.Path(top).resolve() != root:
    return None  # installed somewhere inside another project's repository
  changed = _git(root, "status", "--porcelain", "--", "lalm")
  return head[:12] + ("+" if changed else "")


def _git(root: pathlib.Path, *arguments: str) -> str | None:
  try:
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(root), *arguments],
        capture_output=True,
        check=True,
        text=True,
        timeout=10,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()


def _read(path: str) -> str:
  """The text of a system file, empty where there is none."""
  try:
    return pathlib.Path(path).read_text(errors="replace")
  except OSError:
    return ""


def _model() -> str:
  """The processor's name."""
  for line in _read("/proc/cpuinfo").splitlines():
    name, _, value = line.partition(":")
    if name.strip() == "model name":
      return " ".join(value.split())
  return platform.processor() or platform.machine()


def cores() -> int:
  """Cores this process may use, a container's quota included."""
  found = os.cpu_count() or 1
  if hasattr(os, "sched_getaffinity"):
    found = len(os.sched_getaffinity(0))
  quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
  if quota.isdigit() and period.strip().isdigit():
    found = min(found, max(1, round(int(quota) / int(period))))
  return found


def _memory_gib() -> int | None:
  """Memory in whole GiB: the exact size differs from one boot to the next."""
  try:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (ValueError, OSError):
    return None
  return round(pages / 2**30)


def _huge_pages() -> str | None:
  """The kernel's rule for transparent huge pages: always, madvise or never."""
  found = re.search(
      r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled")
  )
  return found.group(1) if found else None


def _host() -> str:
  """A hash that tells two machines apart and names neither."""
  name = _read("/etc/machine-id").strip() or platform.node()
  return hashlib.sha256(_SALT + name.encode()).hexdigest()[:12]
