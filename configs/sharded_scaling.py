"""Split sequences on 2 to 8 GPUs and on 4 to 256 TPU chips, compiled.

Softmax, which gathers keys, fits shorter ones: --config.mechanisms=softmax
--config.forms=blockwise --config.lengths=262144,1048576 into the same DIR.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.target = (
      "h100x2",
      "h100x4",
      "h100x8",
      "tpu-v5e-2x2",
      "tpu-v5e-4x4",
      "tpu-v5e-8x8",
      "tpu-v5e-16x16",
  )
  config.mechanisms = ("linear", "mamba2", "gated_deltanet")
  config.forms = ("chunkwise",)
  config.lengths = (2**22, 2**23, 2**24, 2**26)
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
  config.budget = 3600.0  # seconds
  config.allowance = 300.0  # seconds

  config.corpus = ""  # not used: shapes are enough
  config.seed = 0
  return config
