"""What chooses the options of a suite's trials."""
