"""Models by name, as data: the released ones, those that ship, small random ones. No torch."""
