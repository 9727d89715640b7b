"""What torch does one pass at a time in a training step on a processor, fused; torch alone where that cannot be."""
