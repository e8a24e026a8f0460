"""The page: a result as one HTML file, its charts as PNG and SVG, its numbers as CSV."""

from .writing import page_html, write_charts, write_folder, write_page, write_tables

__all__ = ["page_html", "write_charts", "write_folder", "write_page", "write_tables"]
