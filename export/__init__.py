"""How a network gets to a file: deploy rewrites, ONNX, parity proof, engines."""
