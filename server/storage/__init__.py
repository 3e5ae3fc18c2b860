"""What survives: the journal on disk. The only package that knows SQLite."""
