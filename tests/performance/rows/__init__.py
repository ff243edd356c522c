"""What is measured, one module per family of rows."""
