"""Laws of memory, traffic and communication on hardware not at hand.

Nothing is run: each point is compiled, in 2 to 20 seconds. Lengths are beyond
what a TPU keeps on its chips, where bytes would not grow like any power; of
softmax by its whole matrix, give shorter ones.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.target = ("h100", "tpu-v5e-2x2", "tpu-v5p-2x2x1")
  config.mechanisms = ("softmax", "linear", "mamba2", "gated_deltanet")
  config.forms = ("blockwise", "chunkwise")
  config.lengths = (262144, 393216, 524288, 786432, 1048576)
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 1
  config.point_budget = 2.0  # seconds; not used: nothing is timed
  config.budget = 1800.0  # seconds
  config.allowance = 300.0  # seconds

  config.corpus = ""  # not used: shapes are enough
  config.seed = 0
  return config
