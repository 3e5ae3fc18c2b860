"""Opportune: ranks offers for customers over gRPC, in milliseconds, and says why."""
