"""Layers: dense, recurrent cells named as in ``brainstate.nn``, spiking maps, leaky read-out."""

from snntrace.nn.cfn import CFNCell as CFNCell
from snntrace.nn.gru import GRUCell as GRUCell
from snntrace.nn.linear import Linear as Linear
from snntrace.nn.lru import LRUCell as LRUCell
from snntrace.nn.lstm import LSTMCell as LSTMCell
from snntrace.nn.mgu import MGUCell as MGUCell
from snntrace.nn.mini_gru import MiniGRUCell as MiniGRUCell
from snntrace.nn.mini_lstm import MiniLSTMCell as MiniLSTMCell
from snntrace.nn.minimal_rnn import MinimalRNNCell as MinimalRNNCell
from snntrace.nn.rate_readout import LeakyRateReadout as LeakyRateReadout
from snntrace.nn.rnn import ValinaRNNCell as ValinaRNNCell
from snntrace.nn.rnn import VanillaRNNCell as VanillaRNNCell
from snntrace.nn.spiking_conv import SpikingConv as SpikingConv
from snntrace.nn.spiking_pool import SpikingPool as SpikingPool
from snntrace.nn.urlstm import URLSTMCell as URLSTMCell
