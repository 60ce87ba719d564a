"""Simulate spiking neural networks and train them online with local eligibility traces."""

__version__ = "0.1.0"
