"""An evaluation as one HTML file with plots and tables, without scripts and network."""
