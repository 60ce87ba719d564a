"""Layers with the call signatures of ``brainstate.nn``: dense, recurrent, gated, leaky read-out."""

from snntrace.nn.gru import GRUCell as GRUCell
from snntrace.nn.linear import Linear as Linear
from snntrace.nn.rate_readout import LeakyRateReadout as LeakyRateReadout
from snntrace.nn.rnn import ValinaRNNCell as ValinaRNNCell
from snntrace.nn.rnn import VanillaRNNCell as VanillaRNNCell
