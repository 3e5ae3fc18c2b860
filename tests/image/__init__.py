"""The image, built and run for real: `python -m tests.image`. It takes minutes, so `make test` only lints the Dockerfile."""
