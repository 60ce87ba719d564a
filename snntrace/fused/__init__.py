"""Fused layers: whole windows of a hidden group in one kernel, made from the model's own equations."""
