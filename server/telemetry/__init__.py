"""What the server tells about itself: metrics, logs, traces. Knows the domain, and nothing of what it measures."""
