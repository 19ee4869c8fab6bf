"""What was signed, what serves to whom, and the online test."""
