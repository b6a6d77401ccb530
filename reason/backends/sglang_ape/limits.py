"""Servers on which the plug-in would read contexts wrongly, and so does not start."""

from typing import Any


def check(context: Any) -> None:
    """Raise ValueError for a configuration that is not served; `context` is SGLang's
    TreeCacheBuildContext."""
    import torch
    from sglang.srt.layers.radix_attention import AttentionType, RadixAttention
    from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
    from sglang.srt.runtime_context import get_disagg, get_memory, get_parallel, get_spec

    runner, model = context.tp_worker.model_runner, context.model_config
    pool = runner.token_to_kv_pool
    layers = [layer for layer in runner.model.modules() if isinstance(layer, RadixAttention)]
    plain = all(
        layer.attn_type == AttentionType.DECODER
        and not layer.is_cross_attention
        and layer.sliding_window_size < 0
        for layer in layers
    )
    sinks = any("sink" in name for name, _ in runner.model.named_parameters())
    page, flags = context.params.page_size, context.server_args
    refused = {
        f"--page-size {page}: contexts end between pages; expected 1": page != 1,
        "--disable-radix-cache: there is no cache to keep contexts in": context.disable_radix_cache,
        "--enable-hierarchical-cache": context.enable_hierarchical_cache,
        "--enable-lmcache": get_memory().enable_lmcache,
        "--speculative-algorithm": get_spec().speculative_algorithm is not None,
        "--pp-size above 1": get_parallel().pp_size > 1,
        "--dp-size above 1": get_parallel().dp_size > 1,
        "--enable-pdmux": flags.enable_pdmux,
        "--enable-two-batch-overlap": flags.enable_two_batch_overlap,
        "--disaggregation-mode": get_disagg().disaggregation_mode != "null",
        "a model whose layers do not all attend to all tokens before (sliding windows, recurrent "
        "or encoder layers)": context.is_hybrid_swa or context.is_hybrid_ssm or not plain,
        "a model with attention sinks": sinks,
        "a model with latent attention (MLA)": runner.use_mla_backend or context.is_dsa,
        "a model with positions of several axes": model.model_is_mrope,
        f"a KV cache of {type(pool).__name__} in {pool.dtype}": type(pool) is not MHATokenToKVPool
        or pool.dtype not in (torch.float32, torch.float16, torch.bfloat16),
    }
    found = [reason for reason, is_so in refused.items() if is_so]
    if found:
        raise ValueError(f"--radix-cache-backend reason_ape does not serve {'; nor '.join(found)}")


def positions(model_config: Any) -> int:
    """How many positions the model has, whatever `--context-length` says."""
    from sglang.srt.utils.hf_transformers import get_context_length

    return int(get_context_length(model_config.hf_text_config))
