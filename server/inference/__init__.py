"""What will probably happen? Model artifacts, ONNX sessions, calibrated propensities."""
