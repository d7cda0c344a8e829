"""The loop: admit, step, take; how codes are drawn. Knows no family and no files."""
