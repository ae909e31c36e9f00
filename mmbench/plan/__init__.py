"""What is to be run: presets, settings from the command line, configurations and their hashes, the job."""
