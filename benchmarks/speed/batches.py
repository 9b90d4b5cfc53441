"""Time and memory of a gradient for several batch sizes.

    python benchmarks/speed/batches.py
    python benchmarks/speed/batches.py --architecture base_larger4 --sizes 64 256 1024

Milliseconds per image are medians over rounds in which the sizes alternate. `estimated` is the memory from which
gtn-bench derives its batch size. `measured` is the growth of a fresh process per size, on a GPU of its allocator.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import re
import statistics
import time
from pathlib import Path

import torch

from gtn_bench.data import DATASETS
from gtn_bench.evaluation.batching import batch_size
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", choices=list(DATASETS))
    parser.add_argument("--architecture", default="base_larger", choices=list(ARCHITECTURES))
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512, 1024])
    parser.add_argument("--images", type=int, default=1024, help="number of images per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier = prepared(options)
    images = torch.rand(options.images, *classifier.input_shape, device=options.device)
    print(f"{options.architecture}, {options.precision}, {options.device}, {options.threads} threads")
    chosen = batch_size(classifier, images, "any")
    print(f"chosen batch size: {chosen}; bytes per image: {sum(classifier.kept_per_image)} saved", end="")
    print(f", {classifier.largest_per_image} in the largest tensor")
    seconds: dict[int, list[float]] = {size: [] for size in options.sizes}
    for _ in range(options.rounds):
        for size in options.sizes:
            start = time.perf_counter()
            for batch in images.split(size):
                gradient(classifier, batch)
            seconds[size].append(time.perf_counter() - start)
    print(f"{'images':>6}{'ms per image':>13}{'estimated MB':>13}{'measured MB':>12}")
    for size in options.sizes:
        milliseconds = 1000 * statistics.median(seconds[size]) / options.images
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            measured = pool.submit(memory_growth, options, size).result() / 1e6
        print(f"{size:6}{milliseconds:13.3f}{size * classifier.needed_per_image / 1e6:13.0f}{measured:12.0f}")


def prepared(options: argparse.Namespace) -> Classifier:
    """Return an untrained learner as a classifier. Training does not change its speed."""
    dataset = DATASETS[options.dataset]()
    network = ARCHITECTURES[options.architecture]()(dataset, seed=0).eval().to(options.device)
    return Classifier(network, dataset.input_shape, dataset.num_classes, options.precision)


def gradient(classifier: Classifier, images: torch.Tensor) -> None:
    """Compute the gradient of the cross-entropy for images (N, C, H, W)."""
    classifier.loss_gradient(images, torch.zeros(len(images), dtype=torch.int64, device=images.device))
    if images.device.type == "cuda":
        torch.cuda.synchronize()


def memory_growth(options: argparse.Namespace, size: int) -> int:
    """Return the bytes by which the process grows with a gradient of `size` images, after one of two images."""
    torch.set_num_threads(options.threads)
    classifier = prepared(options)
    images = torch.rand(size, *classifier.input_shape, device=options.device)
    gradient(classifier, images[:2])
    before = peak_memory(options.device)
    gradient(classifier, images)
    return peak_memory(options.device) - before


def peak_memory(device: str) -> int:
    """Return the peak memory of the process in bytes; on a GPU, of PyTorch's allocator."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()  # Linux; `ru_maxrss` would include the peak of the parent process
    return 1000 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


if __name__ == "__main__":
    main()
