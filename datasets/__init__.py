"""Readers of event-based data sets, and one that needs no download."""
