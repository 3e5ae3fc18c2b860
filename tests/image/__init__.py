"""The image, built and run for real by `python -m tests.image`. It takes minutes: `make test` lints the Dockerfile."""
