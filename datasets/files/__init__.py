"""Readers of the files that event cameras and other event sensors are recorded in."""

from snntrace.datasets.files.events import DataFileError as DataFileError
from snntrace.datasets.files.events import Events as Events
from snntrace.datasets.files.nmnist_bin import read_nmnist_bin as read_nmnist_bin
