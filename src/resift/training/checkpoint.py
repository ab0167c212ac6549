"""The part of a conversion that needs torch: load a checkpoint's model and run it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert import convert
from resift.convert.checkpoint import SAFE, LoadedModel
from resift.extras import require


def load_model(folder: Path, *, with_head: bool) -> LoadedModel:
    """Load a transformers model in float32 from safetensors; raises transformers' errors."""
    torch, transformers = require("torch", "convert"), require("transformers", "convert")
    kind = "AutoModelForSequenceClassification" if with_head else "AutoModel"
    model, loading = getattr(transformers, kind).from_pretrained(
        folder,
        use_safetensors=True,
        dtype="float32",
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are reported as missing
        **SAFE,
    )
    model.eval()

    def forward(inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with torch.inference_mode():
            outputs = model(**tensors)
        result: NDArray[np.float32] = outputs[0][0].numpy()
        return result

    mismatched = (name for name, *_ in loading["mismatched_keys"])
    return LoadedModel(
        {name: tensor.float().numpy() for name, tensor in model.state_dict().items()},
        sorted({*loading["missing_keys"], *mismatched}),
        forward,
    )


convert_checkpoint = partial(convert.convert_checkpoint, load=load_model)
"""`resift.convert.convert.convert_checkpoint` with the model loaded by torch."""
