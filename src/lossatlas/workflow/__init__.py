"""What ties the library to Snakemake: the plan as rules see it, and the frame every script runs in."""
