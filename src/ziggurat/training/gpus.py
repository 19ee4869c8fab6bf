"""What GPUs can do at most, as their makers print it; utilisation is measured against these.

Peak: dense matrix products in bf16 with fp32 accumulation (V100, T4: fp16, they have no bf16), without sparsity.
Memory and its speed: of the named form. In a node of eight: NVLink of one GPU, and all network cards together, one way.
Dollars: on-demand list price of one GPU of the named instance, an hour, where the page needs one; prices change.
Sources: NVIDIA's data sheets of each product and of DGX-1, DGX A100 (8 x 200 Gb/s) and DGX H100 (8 x 400 Gb/s).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    name: str
    peak_flops: float
    memory_gb: float
    memory_gb_per_s: float
    nvlink_gb_per_s: float = 0.0
    node_gb_per_s: float = 0.0
    dollars_per_hour: float = 0.0
    instance: str = ""
    """Of which the price is."""


GPUS = (
    Gpu("B200", 2250e12, 180, 7700, 900, 400),
    Gpu("H200", 989e12, 141, 4800, 450, 400),
    Gpu("H100 PCIe", 756e12, 80, 2000),
    Gpu("H100", 989e12, 80, 3350, 450, 400, 12.29, "AWS p5.48xlarge, 2023"),
    Gpu("A100", 312e12, 80, 2039, 300, 200, 4.10, "AWS p4d.24xlarge, 2020 to 2025"),
    Gpu("V100", 125e12, 32, 900, 150, 50, 3.06, "AWS p3.16xlarge, 2017 to 2025"),
    Gpu("L40S", 362e12, 48, 864),
    Gpu("L4", 121e12, 24, 300),
    Gpu("A10", 125e12, 24, 600),
    Gpu("T4", 65e12, 16, 320),
    Gpu("RTX 4090", 165.2e12, 24, 1008),
    Gpu("RTX 3090", 71e12, 24, 936),
    Gpu("RTX A6000", 154.8e12, 48, 768),
)


def gpu_named(name: str) -> Gpu | None:
    """The entry of what `torch.cuda.get_device_name` calls "NVIDIA A100-SXM4-80GB"; None for an unknown one.

    Of several that fit ("H100" and "H100 PCIe") it is the one whose name has the most words.
    """
    words = set(name.replace("-", " ").split())
    fitting = [gpu for gpu in GPUS if words.issuperset(gpu.name.split())]
    return max(fitting, key=lambda gpu: len(gpu.name.split()), default=None)
