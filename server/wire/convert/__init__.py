"""Protobuf messages to domain types and back. Protobuf stops here: no message is stored or passed inwards."""
