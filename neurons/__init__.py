"""Spiking neurons and leaky read-outs."""
