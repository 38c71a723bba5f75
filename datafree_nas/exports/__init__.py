"""Files of trained networks for other runtimes: PyTorch, ONNX, TFLite, Core ML and StableHLO."""
