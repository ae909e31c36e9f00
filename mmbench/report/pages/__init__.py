"""What numbers and pictures are shown on: README.md, pictures.md, report.html and results.json."""
