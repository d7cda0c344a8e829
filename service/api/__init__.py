"""The API process: HTTP in, jobs out, answers back. Imports no torch."""
