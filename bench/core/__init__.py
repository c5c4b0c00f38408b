"""What one call of the core costs, against the size of the fleet."""
