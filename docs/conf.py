"""How ``make docs`` makes a site of these pages."""

project = "lightning_nas"
author = "The authors of lightning_nas"
copyright = author

extensions = ["myst_parser"]
html_theme = "furo"
html_title = project

# $...$ and $$...$$ are formulas, as on GitHub.
myst_enable_extensions = ["dollarmath"]
# Links such as ranking.md#options-of-the-ranking are checked against the headings.
myst_heading_anchors = 4
