"""Starting the processes of a training, on one node or several, and ending them together."""
