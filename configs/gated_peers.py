"""Families with gates by this library and by others, in one run.

For `peer_comparison`, under a Python that all of them run on (jla: 3.12).
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of the comparison; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("mamba2", "gla", "deltanet", "gated_deltanet", "kda")
  config.forms = ("lalm", "jla")
  config.lengths = (4096, 16384)
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 1.5  # seconds
  config.budget = 900.0  # seconds
  config.allowance = 60.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
