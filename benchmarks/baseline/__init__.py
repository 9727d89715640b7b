"""What must not change while code moves."""
