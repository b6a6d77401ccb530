"""Names that sglang imports from its CUDA kernels on a CPU and calls for speculation alone.

No torch operator is registered here, so that every layer of sglang takes its native path.
"""

from typing import NoReturn


def _absent(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError("speculative decoding needs the real sgl_kernel")


assign_draft_cache_locs_contiguous_cpu = _absent
assign_extend_cache_locs_cpu = _absent
assign_req_to_token_pool_cpu = _absent
build_tree_kernel_efficient_cpu = _absent
copy_all_layer_kv_cache_cpu = _absent
fill_accept_out_cache_loc_cpu = _absent
fill_bonus_tokens_cpu = _absent
rotate_input_ids_cpu = _absent
verify_tree_greedy_cpu = _absent
