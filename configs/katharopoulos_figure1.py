"""Figure 1 of Katharopoulos et al. (2020): time and memory to n = 65,536.

The forward and backward pass of one attention layer against the sequence
length. As in the paper, softmax attention ends where memory or time does: those
points are recorded as `over_budget` or `out_of_memory` and marked in the
figure.

Reference: A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret, "Transformers are
RNNs: Fast Autoregressive Transformers with Linear Attention", ICML 2020.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear")
  config.forms = ("softmax.parallel", "softmax.blockwise", "linear.chunkwise")
  config.lengths = tuple(2**exponent for exponent in range(9, 17))
  config.passes = ("forward_backward",)

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 4.0  # seconds
  config.budget = 1500.0  # seconds
  config.allowance = 120.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
