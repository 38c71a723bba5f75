"""Files of trained networks for other runtimes: PyTorch, ONNX, TFLite and StableHLO."""
