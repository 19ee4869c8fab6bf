"""What a model knows and how surely we know it: bits per byte, intervals, diversity, reports."""
