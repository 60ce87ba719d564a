"""Events: spikes as lists of unit indices, and operations whose cost is that of the spikes."""

from snntrace.events.matmul import event_matmul as event_matmul
from snntrace.events.matmul import event_outer as event_outer
from snntrace.events.sparse import CSRWeight as CSRWeight
from snntrace.events.sparse import FanOutWeight as FanOutWeight
from snntrace.events.spikes import Spikes as Spikes
