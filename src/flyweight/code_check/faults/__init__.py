"""The faults, by what they are about; each yields the places where it is found."""
