"""How callers reach us: gRPC on two transports. The only package that knows gRPC and protobuf."""
