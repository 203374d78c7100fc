"""What the machine ran out of, in a line with a remedy."""

from capsynth.errors import storage_problem

# By script: what makes it need less memory. Smaller batches are never taken unasked: products of
# matrices of another shape round differently, so other bytes would come out.
LESS_MEMORY = {
    "caption_images": "a smaller batch_size of the captioner",
    "rewrite_captions": "a smaller batch_size of the rewriter",
    "generate_images": "a smaller batch_size of the generator, attention_slicing or vae_slicing",
    "extract_features": "a smaller batch_size of the feature extractor",
    "train_classifier": "amp or more GPUs; a smaller batch_size of the recipe is another recipe",
}


def explain(error: BaseException, script: str) -> str | None:
    """Return what failed and what to do about it; None of a mistake in the code.

    Args:
        error: What ended the job.
        script: Name of its script.
    """
    if memory := _memory(error):
        less = LESS_MEMORY.get(script, "fewer threads")
        return (
            f"{memory} is out: set {less}, or give the job more (--set-resources RULE:mem_mb=MB, "
            f"or a larger GPU), and start again: what is finished is kept"
        )
    if problem := storage_problem(error):
        named = isinstance(error, OSError) and (error.filename2 or error.filename)
        return f"{named}: {problem}" if named else problem
    return None


def _memory(error: BaseException) -> str | None:
    """Return which memory was too small; None if that is not what happened."""
    if isinstance(error, MemoryError):
        return "memory"
    # torch.OutOfMemoryError, without an import of torch; on the CPU torch raises RuntimeErrors.
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU's memory"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return "memory"
    return None
