"""The faults, by subject; each function yields the places of one fault."""
