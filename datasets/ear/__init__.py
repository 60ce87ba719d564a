"""From sound to spikes: a model of the ear, the one that made SHD."""

from snntrace.datasets.ear.listen import best_frequency as best_frequency
from snntrace.datasets.ear.listen import listen as listen
from snntrace.datasets.ear.recordings import hear_files as hear_files
from snntrace.datasets.ear.sound import read_sound as read_sound
