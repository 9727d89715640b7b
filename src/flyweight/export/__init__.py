"""Trained nets as files for other places: integers in JSON, C, ONNX; each is compared with the net it came from."""
