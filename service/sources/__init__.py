"""Pictures that callers send: read without trust, fitted to a model, told in a recipe. No torch."""
