"""An evaluation as one page of HTML: markup, plots, tables and the template."""
