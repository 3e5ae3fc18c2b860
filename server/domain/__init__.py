"""What things are: frozen types and pure functions. Only the standard library and numpy; no clock, no I/O."""
