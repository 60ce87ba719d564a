"""Events: spikes as lists of unit indices, and operations whose cost is that of the spikes."""

from snntrace.events.spikes import Spikes as Spikes
