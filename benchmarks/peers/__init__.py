"""Other libraries, ready to be timed beside snntrace."""

from peers.process import Peer as Peer
from peers.process import PeerError as PeerError
from peers.process import Program as Program
from peers.registry import PEERS as PEERS
