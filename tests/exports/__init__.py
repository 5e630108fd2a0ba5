"""What other systems are given."""
