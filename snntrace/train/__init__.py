"""The training job: data, loop, files and pictures of a run."""

from snntrace.train.config import DEFAULTS as DEFAULTS
from snntrace.train.config import TrainConfig as TrainConfig
from snntrace.train.loop import Result as Result
from snntrace.train.loop import Watcher as Watcher
from snntrace.train.loop import train as train
from snntrace.train.model import Classifier as Classifier
from snntrace.train.model import build_model as build_model
from snntrace.train.run_folder import RunFolder as RunFolder
from snntrace.train.weights import load_weights as load_weights
from snntrace.train.weights import named_weights as named_weights
