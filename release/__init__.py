"""How a release is made: `make release`."""
