"""Jobs on level sets."""
