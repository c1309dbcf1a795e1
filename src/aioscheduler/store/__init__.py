"""What is remembered, and the atomic steps that change it."""
