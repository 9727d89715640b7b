"""Fused CPU kernels for a training step, as torch functions; torch alone is the fallback."""
