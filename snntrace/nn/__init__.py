"""Layers whose weights the compiler traces."""
