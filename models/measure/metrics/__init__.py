"""Numbers that tell sets of pictures apart: pure arithmetic on features, logits and pixels."""
