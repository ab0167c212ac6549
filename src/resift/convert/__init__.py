"""A checkpoint → a checked int8 artifact. Importing this package does not import torch.

`convert` is the way from a folder or a hub id to an artifact: `checkpoint` and `folder` read,
`graph` writes ONNX, `quantise` makes int8, `output` finishes. To add an architecture, add an entry
to `checkpoint.FAMILIES`.
"""
