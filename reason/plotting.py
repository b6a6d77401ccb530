"""What all plots of the project look like."""

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid.axis": "y",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6e9",
    "text.parse_math": False,
    "svg.hashsalt": "reason",  # the same file for the same figures
    "svg.fonttype": "none",
}
"""Settings of matplotlib."""
