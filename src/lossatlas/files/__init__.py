"""Files: HDF5 that appears whole or not at all, tables, points, checksums, records, resumable rows."""
