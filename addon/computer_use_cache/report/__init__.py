"""The page of a run: its steps, screenshots and differences, as one HTML file."""
