"""What operators write: groups of settings, API keys. Reads no environment."""
