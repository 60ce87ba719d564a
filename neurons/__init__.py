"""Spiking neurons and the layers that put weights in front of them."""

from snntrace.neurons.adlif import AdLIF as AdLIF
from snntrace.neurons.alif import ALIF as ALIF
from snntrace.neurons.base import Neuron as Neuron
from snntrace.neurons.current_lif import CurrentLIF as CurrentLIF
from snntrace.neurons.li import LI as LI
from snntrace.neurons.lif import LIF as LIF
from snntrace.neurons.registry import NEURONS as NEURONS
from snntrace.neurons.spiking import SpikingNeuron as SpikingNeuron
from snntrace.neurons.synapses import FeedForward as FeedForward
from snntrace.neurons.synapses import Recurrent as Recurrent
from snntrace.neurons.weights import fluctuation_driven as fluctuation_driven
