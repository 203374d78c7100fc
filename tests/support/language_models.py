"""Language models of random weights that know a few words."""

from pathlib import Path

WORDS = "a the cat dog bird boat red blue small old sits runs on under grass sea night snow".split()
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} <end> "
    "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)


def build_language_model(folder: Path, kind: str) -> Path:
    """Save a Llama with a chat template, or a GPT-2 without one, of random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    vocabulary = {word: i for i, word in enumerate(["<end>", "[UNK]", "<pad>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad = {"pad_token": "<pad>"} if kind == "llama" else {}  # GPT-2 has none
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", bos_token="<end>", eos_token="<end>", **pad
    )
    ids = {"vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    if kind == "llama":
        tokenizer.chat_template = TEMPLATE
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(**ids, **sizes, **heads, pad_token_id=2))
    else:
        model = GPT2LMHeadModel(GPT2Config(**ids, n_embd=16, n_layer=1, n_head=2, n_positions=64))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
