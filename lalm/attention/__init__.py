"""Attention mechanisms: one definition each, and faster forms equal to it."""

from lalm.attention import catalogue as catalogue
from lalm.attention import delta as delta
from lalm.attention import dplr as dplr
from lalm.attention import features as features
from lalm.attention import gated as gated
from lalm.attention import linear as linear
from lalm.attention import masks as masks
from lalm.attention import mlstm as mlstm
from lalm.attention import softmax as softmax
from lalm.attention.dot_product import (
    dot_product_attention as dot_product_attention,
)
