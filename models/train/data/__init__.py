"""Pictures and their words to train on: what a set must answer, the sets, what is made of them."""
