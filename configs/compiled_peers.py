"""Other libraries' attention beside ours on machines not at hand.

For `peer_comparison`; nothing is run. In bfloat16, for cuDNN takes no more.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of the comparison; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.target = ("h100", "tpu-v5e-2x2")
  config.mechanisms = ("all",)
  config.forms = ()  # every library that can be compiled
  config.lengths = (4096, 16384, 65536)
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "bfloat16"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 1
  config.point_budget = 2.0  # seconds; not used: nothing is timed
  config.budget = 1800.0  # seconds
  config.allowance = 300.0  # seconds

  config.corpus = ""  # not used: shapes are enough
  config.seed = 0
  return config
