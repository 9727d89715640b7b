"""What is measured and kept beside the package, outside the wheel; each part is run with `python -m`."""
