"""What should we do? Conditions, eligibility and arbitration by expected value."""
