"""The fault bench: faults planted in healthy recipes, and how well the doctor finds them."""
