"""The training job: data, loop, files and pictures of a run."""
