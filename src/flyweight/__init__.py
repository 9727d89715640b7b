"""flyweight: the best image classifier that fits a parameter budget, with evidence."""
