"""What can be seen to be wrong in a training script or notebook that is not ours; none of it is run."""
