"""From a bundle to a folder that predicts without torch, with ONNX Runtime or OpenVINO, numpy and OpenCV alone.

Open `export_bundle.py` first: it writes the folder. `portable_predictor.py` is what runs there.
"""
