"""`python -m server`."""

import os
import sys

# Catalogs are compiled in processes of their own, which use no gRPC; its fork handlers would only print warnings.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from server.cli import main

if __name__ == "__main__":
    sys.exit(main())
