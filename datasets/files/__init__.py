"""Readers of the files that event cameras and other event sensors are recorded in."""

from snntrace.datasets.files.aedat2 import read_aedat2 as read_aedat2
from snntrace.datasets.files.aedat3 import read_aedat3 as read_aedat3
from snntrace.datasets.files.aedat4 import read_aedat4 as read_aedat4
from snntrace.datasets.files.event_stream import EventStream as EventStream
from snntrace.datasets.files.event_stream import read_es as read_es
from snntrace.datasets.files.event_stream import read_event_stream as read_event_stream
from snntrace.datasets.files.events import DataFileError as DataFileError
from snntrace.datasets.files.events import Events as Events
from snntrace.datasets.files.mat import read_atis_mat as read_atis_mat
from snntrace.datasets.files.mat import read_stmnist_mat as read_stmnist_mat
from snntrace.datasets.files.nmnist_bin import read_nmnist_bin as read_nmnist_bin
from snntrace.datasets.files.prophesee_dat import read_dat as read_dat
from snntrace.datasets.files.prophesee_raw import read_raw as read_raw
from snntrace.datasets.files.registry import FORMATS as FORMATS
from snntrace.datasets.files.registry import format_of as format_of
from snntrace.datasets.files.registry import read_events as read_events
