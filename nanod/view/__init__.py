"""Values to text and JSON; pure. What is shown, and nothing about where it goes."""
