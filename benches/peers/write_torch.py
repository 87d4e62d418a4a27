"""Writes models of torchvision and timm as ONNX files, batch normalisation unfolded. Needs PyTorch, and so is a program of
its own:

    python write_torch.py torchvision.mobilenet_v2 224 mobilenet_v2.onnx
"""

import importlib
import sys

import torch


def made(name: str) -> torch.nn.Module:
    """Makes a model with random weights and normalisations that change something."""
    library, model = name.split(".")
    module = importlib.import_module(library)
    torch.manual_seed(0)
    network = module.create_model(model) if library == "timm" else module.models.get_model(model, weights=None)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
            part.weight.data.uniform_(0.8, 1.2)
            part.bias.data.normal_(0, 0.1)
    return network.eval()


def main(name: str, size: str, path: str):
    """Writes the model `name` for images of `size` x `size` to `path`."""
    image = torch.zeros(1, 3, int(size), int(size))
    # As it stands: folding is the reader's.
    stay = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(made(name), image, path, dynamo=False, opset_version=17, **stay)


if __name__ == "__main__":
    main(*sys.argv[1:])
