"""Data sets: their layouts, their cases, how they are split, and what is wrong with them."""
