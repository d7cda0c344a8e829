"""Pictures and their words, to train on."""
