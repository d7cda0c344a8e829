"""Training of stage 1, stage 2 and CLIP. The service never imports this package."""
