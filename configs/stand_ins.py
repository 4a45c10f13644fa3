"""Windows, hierarchies and buckets beside softmax: where each is faster."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "window", "loglinear", "lsh")
  config.forms = ("softmax.blockwise", "chunkwise")
  config.lengths = (512, 1024, 2048, 4096, 8192, 16384, 32768)
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 2.0  # seconds
  config.budget = 1500.0  # seconds
  config.allowance = 60.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
