"""The files of a run, which no other room knows: folder, records, samples, history, checksums, locks."""
