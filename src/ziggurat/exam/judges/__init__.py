"""Models and rules that grade answers, and how far each can be trusted."""
