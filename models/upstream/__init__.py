"""What the authors of the released models call things, and where they keep them. No torch."""
