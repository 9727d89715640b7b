"""Strategies of a search compared at equal time."""
