"""Which checks of `verify` a whole set of recorded numbers passes, for each family.

A check of the family's own, by a name that others have, too, is called `family/array`. Knows no
torch and no check.
"""

from __future__ import annotations

from models.configs.dalle import DalleConfig
from models.configs.hq import HQTransformerConfig, TwoScalesConfig
from models.configs.rq import RQTransformerConfig
from models.configs.transformer import TransformerConfig

OF_CODEC = frozenset({"dec_raw", "dec_pixels", "enc_prequant", "enc_codes", "enc_recon_raw"})


def of_transformer(config: TransformerConfig) -> frozenset[str]:
    """`taming/` are checks of that family's own by names that others have, too."""
    both = OF_CODEC | {"greedy_codes"}
    if config.vocab_size:
        own = {"tf_logits", "cached_logits", "completed_codes", "train_loss", "taming/e2e_pixels"}
        own |= {"e2e_u8", "taming/enc_codes", "taming/enc_recon_raw", "taming/dec_pixels"}
        return both - {name.removeprefix("taming/") for name in own} | own
    if config.prefix == "text":
        own = {"token_ids", "tf_logits_img", "tf_logits_txt", "cached_logits_img", "filt_probs"}
    else:
        own = {"tf_logits", "cached_logits", "train_loss", "transfer_logits"}
    return frozenset(both | own | {"e2e_pixels"})


def of_rq(config: RQTransformerConfig) -> frozenset[str]:
    """`rq/` are checks of the family's own by names that others have, too."""
    own = {"tf_logits", "cached_logits", "greedy_codes", "e2e_pixels", "enc_prequant", "enc_codes"}
    own |= {"enc_recon_raw", "dec_raw", "dec_pixels"}
    names = {"filt_probs", "enc_quant_cumulative", "soft_codes_temp05", "dec_code_embeddings"}
    names |= {"dec_partial_add_1", "dec_partial_select_1"} | {f"rq/{name}" for name in own}
    text = {"token_ids", "tf_cond_logits"} if config.prefix == "text" else set()
    return frozenset(names | text)


def of_hq(config: HQTransformerConfig) -> frozenset[str]:
    """`hq/` are checks of the family's own, mostly a name for each level."""
    is_pair = len(config.sizes) == 2
    levels = ("top", "bot") if is_pair else ("top", "mid", "bot")
    of_each = ("tf_logits", "cached_logits", "greedy_codes", "enc_codes")
    names = {f"{name}_{level}" for name in of_each for level in levels}
    names |= {"enc_recon_raw", "dec_raw", "dec_pixels", "dec_top_only_raw", "e2e_pixels"}
    if is_pair:
        names |= {"enc_residual", "dec_bot_only_raw"}
        names |= {"soft_top", "soft_bot_rows2"} if config.temp_soft_labels else set()
        names |= {"given_codes_bot"} if config.drawing == "parallel" else set()
    else:
        names |= {"enc_quant", "dec_top_mid_raw", *(f"soft_{level}_row0" for level in levels)}
    names |= {"tf_logits_txt"} if config.prefix == "text" else set()
    shared = {"enc_prequant", "token_ids"} if config.prefix == "text" else {"enc_prequant"}
    return frozenset({f"hq/{name}" for name in names} | shared)


def of_dalle(_config: DalleConfig) -> frozenset[str]:
    """What a whole set has: one file of weights is recorded by the rules of both versions."""
    names = ("logits", "greedy", "rank_ppl")
    return frozenset(f"{version}_{name}" for version in ("v2", "v3") for name in names)


def of_two_scales(_config: TwoScalesConfig) -> frozenset[str]:
    """`scales/` are checks of the family's own, mostly a name for each grid."""
    of_each = ("tf_logits", "greedy_codes", "enc_prequant", "enc_codes")
    names = {f"{name}_{grid}" for name in of_each for grid in ("top", "bot")}
    names |= {"cached_logits_bot", "tf_logits_bot_txt", "given_codes_bot", "e2e_pixels"}
    names |= {"enc_recon_raw", "dec_raw", "dec_pixels"}
    return frozenset(f"scales/{name}" for name in names)
