"""The commands of `bnnrl`, a file for each; none loads TensorFlow before it must."""
