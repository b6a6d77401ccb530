"""Lets PyPI's torchvision, a CUDA build, be imported beside a torch without CUDA.

Loaded by the .pth file beside it when Python starts, it waits for `import torchvision` and then
declares the operators that torchvision's own library would have brought. No model of text calls
one.
"""

import sys
from importlib.abc import MetaPathFinder
from typing import Any

_libraries: list[Any] = []


class _Torchvision(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None:
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _libraries.append(library)  # the operators go when it does


sys.meta_path.insert(0, _Torchvision())
