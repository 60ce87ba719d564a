"""Learning rules as values on four axes."""
