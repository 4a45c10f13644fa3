"""Entries of the catalogue that stand between softmax and linear attention.

A window, a hierarchy of sums, projected keys, landmarks: each forgets or blurs
some of the context to cost less than its square.
"""

import functools
import math

from lalm.attention import compressed_costs
from lalm.attention import costs
from lalm.attention import hierarchical
from lalm.attention import hierarchical_costs
from lalm.attention import linformer
from lalm.attention import local
from lalm.attention import nystromformer
from lalm.attention import reference
from lalm.attention import window
from lalm.attention.mechanism import Gate
from lalm.attention.mechanism import Mechanism

_WEIGHTS = Gate("BTHN", 0.0, math.inf, 1.0, (0.0, 1.0))
_LOG_DECAY = Gate("BTG", -math.inf, 0.0, 0.0, (-1.0, 0.0))
_PROJECTION = Gate("PS", -math.inf, math.inf, 0.0, (-0.2, 0.2))
_BUCKETS = Gate("BTGn", 0, math.inf, 0, (0, local.COUNT - 1), whole=True)

MECHANISMS = (
    Mechanism(
        name="window",
        transition="none: the last keys are kept",
        paper="Beltagy et al. 2020, arXiv 2004.05150",
        definition=window.parallel,
        forms={
            "parallel": window.parallel,
            "chunkwise": window.chunkwise,
            "step": window.step,
        },
        featured=("chunkwise",),
        laws={
            "parallel": costs.window_parallel,
            "chunkwise": costs.window_chunkwise,
            "step": costs.window_step,
        },
        cross=False,
        start=window.init,
        rows=functools.partial(reference.window_rows, window=window.WINDOW),
        apply=window.matrix,
    ),
    Mechanism(
        name="loglinear",
        paper="Guo et al. 2025, arXiv 2506.04761, equations 4 and 9",
        transition="a scalar for each level",
        gates={"weights": _WEIGHTS, "log_decay": _LOG_DECAY},
        axes=lambda length: {"N": hierarchical.levels(length)},
        definition=hierarchical.recurrent,
        forms={
            "recurrent": hierarchical.recurrent,
            "chunkwise": hierarchical.chunkwise,
            "step": hierarchical.step,
        },
        featured=("chunkwise",),
        full=False,
        laws={
            "recurrent": hierarchical_costs.recurrent,
            "chunkwise": hierarchical_costs.chunkwise,
            "step": hierarchical_costs.step,
        },
        start=hierarchical.init,
    ),
    Mechanism(
        name="lsh",
        paper="Kitaev et al. 2020, arXiv 2001.04451, equations 4 to 8",
        transition="none: keys of a bucket are kept",
        gates={"buckets": _BUCKETS},
        axes=lambda length: {"n": local.ROUNDS},
        definition=local.parallel,
        forms={"parallel": local.parallel, "chunkwise": local.chunkwise},
        featured=("chunkwise",),
        cross=False,
        laws={
            "parallel": costs.window_parallel,
            "chunkwise": costs.lsh_chunkwise,
        },
        rows=functools.partial(reference.lsh_rows, window=local.WINDOW),
    ),
    Mechanism(
        name="linformer",
        paper="Wang et al. 2020, arXiv 2006.04768, equation 7",
        transition="none: all keys are mixed to a few",
        gates={
            "key_projection": _PROJECTION,
            "value_projection": _PROJECTION,
        },
        axes=lambda length: {"S": length, "P": linformer.projected(length)},
        definition=linformer.parallel,
        forms={
            "parallel": linformer.parallel,
            "blockwise": linformer.blockwise,
        },
        featured=("blockwise",),
        causal=False,
        laws={
            "parallel": compressed_costs.linformer_parallel,
            "blockwise": compressed_costs.linformer_blockwise,
        },
    ),
    Mechanism(
        name="nystromformer",
        paper="Xiong et al. 2021, arXiv 2102.03902, equation 13",
        transition="none: all keys are seen through landmarks",
        definition=nystromformer.parallel,
        forms={
            "parallel": nystromformer.parallel,
            "blockwise": nystromformer.blockwise,
        },
        featured=("blockwise",),
        causal=False,
        laws={
            "parallel": compressed_costs.nystromformer_parallel,
            "blockwise": compressed_costs.nystromformer_blockwise,
        },
        rows=functools.partial(
            reference.nystromformer_rows,
            landmarks=nystromformer.LANDMARKS,
            iterations=nystromformer.ITERATIONS,
        ),
    ),
)
