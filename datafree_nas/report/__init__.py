"""What a run has left behind, as one page and one table; opens files and runs nothing."""
