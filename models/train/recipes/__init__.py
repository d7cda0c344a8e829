"""How each family learns: its losses, its update, its plan. One file per family."""
