"""HTTP around the routes: middleware, envelope, keys, hang-ups."""
