"""A checkpoint → a checked int8 artifact. Importing this package does not import torch.

`convert` leads from a folder or a hub id to an artifact: `checkpoint` and `folder` read, `graph`
writes ONNX, `quantise` makes int8, `output` writes the folder. To add an architecture, add an entry
to `checkpoint.FAMILIES`.
"""
