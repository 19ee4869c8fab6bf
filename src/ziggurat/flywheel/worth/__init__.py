"""What a label is worth: reliability of people by gold items, by others, and by what is liked in general."""
