"""How softmax and linear attention grow on an accelerator."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear")
  config.forms = ()  # the featured ones
  config.lengths = tuple(2**i for i in range(11, 17))
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 16
  config.width = 128
  config.value_width = 128
  config.dtype = "bfloat16"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 0.5  # seconds
  config.budget = 480.0  # seconds; the suite says how many are left
  config.allowance = 120.0  # seconds

  config.corpus = "normal"  # Gaussian: text takes longer than the device does
  config.seed = 0
  return config
