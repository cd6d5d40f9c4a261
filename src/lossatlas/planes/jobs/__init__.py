"""Jobs that evaluate landscapes on lines and planes."""
