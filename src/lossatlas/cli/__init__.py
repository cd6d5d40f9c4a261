"""The command ``lossatlas``: one file a group of commands, none of which loads torch before it is called."""
