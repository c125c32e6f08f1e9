"""What is wrong with a data set: every sequence examined before a training is lost to it."""
