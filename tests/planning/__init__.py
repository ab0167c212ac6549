"""What an index of any size takes."""
