"""Spiking neurons by the names that a command line takes."""

from snntrace.neurons.adlif import AdLIF
from snntrace.neurons.alif import ALIF
from snntrace.neurons.current_lif import CurrentLIF
from snntrace.neurons.lif import LIF

NEURONS: dict[str, type[LIF] | type[ALIF] | type[AdLIF] | type[CurrentLIF]] = {
    "lif": LIF,
    "alif": ALIF,
    "adlif": AdLIF,
    "cuba": CurrentLIF,
}
