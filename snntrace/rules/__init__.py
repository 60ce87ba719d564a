"""Learning rules: each one is four choices, in a file of its own."""

from snntrace.rules.bptt import BPTT as BPTT
from snntrace.rules.d_rtrl import D_RTRL as D_RTRL
from snntrace.rules.feedback import Feedback as Feedback
from snntrace.rules.ostl import OSTLRecurrent as OSTLRecurrent
from snntrace.rules.osttp import OSTTP as OSTTP
from snntrace.rules.pp_prop import ES_D_RTRL as ES_D_RTRL
from snntrace.rules.pp_prop import pp_prop as pp_prop
from snntrace.rules.rule import Rule as Rule

__all__ = ["BPTT", "D_RTRL", "ES_D_RTRL", "OSTTP", "Feedback", "OSTLRecurrent", "Rule", "pp_prop"]
