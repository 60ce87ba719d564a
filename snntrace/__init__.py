"""Simulate spiking neural networks and train them online with local eligibility traces."""

from snntrace import nn as nn
from snntrace.compiler.forms import register_operation as register_operation
from snntrace.compiling import compile as compile
from snntrace.errors import CompileError as CompileError
from snntrace.errors import NotCompiledError as NotCompiledError
from snntrace.events import Spikes as Spikes
from snntrace.learner import Learner as Learner
from snntrace.markers import conv as conv
from snntrace.markers import einsum as einsum
from snntrace.markers import element_wise as element_wise
from snntrace.markers import embedding as embedding
from snntrace.markers import grouped_matmul as grouped_matmul
from snntrace.markers import lora_matmul as lora_matmul
from snntrace.markers import matmul as matmul
from snntrace.markers import sparse_matmul as sparse_matmul
from snntrace.rules import BPTT as BPTT
from snntrace.rules import D_RTRL as D_RTRL
from snntrace.rules import ES_D_RTRL as ES_D_RTRL
from snntrace.rules import OSTTP as OSTTP
from snntrace.rules import Feedback as Feedback
from snntrace.rules import OSTLRecurrent as OSTLRecurrent
from snntrace.rules import Rule as Rule
from snntrace.rules import pp_prop as pp_prop
from snntrace.step_data import MultiStepData as MultiStepData
from snntrace.step_data import SingleStepData as SingleStepData
from snntrace.stream import Stream as Stream

__version__ = "0.1.0"
