"""What do we know about this customer? The profile table, deltas, and the features that models read."""
