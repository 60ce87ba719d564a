"""From a model to its step program, hidden groups, relations and report."""
