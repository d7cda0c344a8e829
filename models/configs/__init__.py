"""What a model is, as data: its shapes, what ranks its pictures, how it is drawn from. No torch."""
