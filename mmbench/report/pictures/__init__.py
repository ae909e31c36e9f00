"""Figure 3, sample sheets, curves and charts, drawn from the files of runs."""
