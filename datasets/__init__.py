"""Spiking data sets: readers, binning, splits and batches."""

from snntrace.datasets.binning import Binned as Binned
from snntrace.datasets.binning import bin_batch as bin_batch
from snntrace.datasets.binning import bin_events as bin_events
from snntrace.datasets.braille import BrailleLetters as BrailleLetters
from snntrace.datasets.camera import SaccadeCamera as SaccadeCamera
from snntrace.datasets.catalogue import DATASETS as DATASETS
from snntrace.datasets.catalogue import open_dataset as open_dataset
from snntrace.datasets.digits import SaccadeDigits as SaccadeDigits
from snntrace.datasets.dvs_gesture import DVSGesture as DVSGesture
from snntrace.datasets.epochs import Batch as Batch
from snntrace.datasets.epochs import Batches as Batches
from snntrace.datasets.fetching import Waiting as Waiting
from snntrace.datasets.loader import batches as batches
from snntrace.datasets.ncaltech101 import NCaltech101 as NCaltech101
from snntrace.datasets.nmnist import NMNIST as NMNIST
from snntrace.datasets.ntidigits import NTIDIGITS18 as NTIDIGITS18
from snntrace.datasets.protocol import SpikeDataset as SpikeDataset
from snntrace.datasets.shd import SpikeFile as SpikeFile
from snntrace.datasets.split import by_group as by_group
from snntrace.datasets.split import hold_out as hold_out
from snntrace.datasets.store import SpikeStore as SpikeStore
from snntrace.datasets.store_convert import convert as convert
from snntrace.datasets.store_convert import export_shd as export_shd
from snntrace.datasets.store_layout import StoreInfo as StoreInfo
from snntrace.datasets.store_writer import StoreWriter as StoreWriter
from snntrace.datasets.unpack import unpacked as unpacked
