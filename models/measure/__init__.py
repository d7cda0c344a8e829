"""What a machine and a model reach: speed, and how good the pictures are."""
