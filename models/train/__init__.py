"""Training: the emoji data set, stage 1, stage 2 and CLIP; one module per command."""
