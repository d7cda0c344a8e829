"""What an evaluation prints: one file for each sort of table, and what a table is."""
