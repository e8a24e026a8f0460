"""The page: a result as one HTML file, its charts as PNG and SVG, its numbers as CSV."""
