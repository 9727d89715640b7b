"""What happens to runs, records and files when machine, people or chance do their worst: tried and counted."""
